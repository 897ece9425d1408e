"""LoRA and DoRA adapters on the layers of a module, built by peft.

peft is optional and imported by :func:`add_adapters` only; loading, merging
and running a model without adapters need none of it.
"""

from types import ModuleType

import torch
from torch import Tensor, nn

from rfdetr_mm.adapter_weights import (
    ALPHA,
    BASE,
    DOWN,
    MAGNITUDE,
    UP,
    find_adapted_layers,
    merge_adapters,
    merged_weight,
)
from rfdetr_mm.errors import InputError

TYPES = ('lora', 'dora')
TARGETS = ('query', 'key', 'value')


def add_adapters(
    module: nn.Module, type: str = 'dora', rank: int = 16, alpha: int = 16
) -> None:
    """Wrap a module's query, key and value layers with adapters, in place.

    The module's own weights are frozen. A new adapter changes nothing until
    it is trained. Adapters of layers that were frozen before are frozen too.

    Args:
        module: A backbone; its linear layers named ``query``, ``key`` and
            ``value`` get adapters.
        type: 'lora' (a low-rank difference) or 'dora' (that, and the length
            of each row of the weight).
        rank: The rank of the difference that is learned.
        alpha: The difference is scaled by alpha / rank.

    Raises:
        InputError: If the type is unknown, a number is not a positive
            integer, or there is no trainable layer to adapt.
        ImportError: If peft is not installed.

    Source: rfdetr 1.11.2, models/weights.py, apply_lora (DoRA of rank 16 and
        alpha 16 on the same layers).
    """
    if type not in TYPES:
        raise InputError(f'adapters.type is one of {TYPES}, got {type!r}')
    for name, value in (('rank', rank), ('alpha', alpha)):
        if not isinstance(value, int) or value < 1:
            raise InputError(
                f'adapters.{name} is a positive integer, got {value!r}'
            )
    frozen = {
        name: not layer.weight.requires_grad
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and name.split('.')[-1] in TARGETS
    }
    if all(frozen.values()):
        raise InputError(
            f'adapters train the layers named {TARGETS} of a backbone, and '
            f'this {module.__class__.__name__} has no trainable one: take a '
            'backbone with such layers and set its frozen_stages below the '
            'number of its blocks'
        )
    peft = _import_peft()
    peft.inject_adapter_in_model(
        peft.LoraConfig(
            r=rank,
            lora_alpha=alpha,
            use_dora=type == 'dora',
            target_modules=list(frozen),
        ),
        module,
    )
    for name, is_frozen in frozen.items():
        layer = module.get_submodule(name)
        layer.register_buffer('alpha', torch.tensor(alpha))
        if is_frozen:
            layer.requires_grad_(False)


def _import_peft() -> ModuleType:
    try:
        import peft
    except ImportError as error:
        raise ImportError(
            'adapters are built by peft, which is not installed: '
            "pip install 'rfdetr_mm[lora]'. To use trained adapters without "
            'it, set model.adapters=None: they are merged on loading'
        ) from error
    return peft


def is_adapted(layer: nn.Module) -> bool:
    """Whether a module is a layer that :func:`add_adapters` has wrapped."""
    return hasattr(layer, 'base_layer') and hasattr(layer, 'lora_A')


def fit_adapters(
    module: nn.Module, state_dict: dict[str, Tensor], prefix: str = ''
) -> None:
    """Fit weights with or without adapters to a module, in place.

    Weights without adapters get those of the module, reset so that they
    change nothing. Adapters of layers that have none in the module are
    merged.

    Args:
        module: The module that is about to load.
        state_dict: Keys to values; only entries are replaced, the tensors
            themselves stay as they are.
        prefix: What the module's keys begin with.

    Raises:
        InputError: If an adapter is incomplete, or was trained with another
            ``alpha``.
    """
    adapted = {
        prefix + name: layer
        for name, layer in module.named_modules()
        if is_adapted(layer)
    }
    for name, layer in adapted.items():
        if f'{name}.weight' in state_dict:
            _add_reset_adapter(layer, state_dict, name)
        _check_alpha(layer, state_dict, name)
    unknown = [
        name
        for name in find_adapted_layers(state_dict)
        if name.startswith(prefix) and name not in adapted
    ]
    if unknown:
        merged = merge_adapters(state_dict, unknown)
        state_dict.clear()
        state_dict.update(merged)


def _add_reset_adapter(
    layer: nn.Module, state_dict: dict[str, Tensor], name: str
) -> None:
    """Turn a plain layer's keys into those of an adapted one."""
    down = layer.lora_A['default'].weight.detach()
    weight = state_dict.pop(f'{name}.weight')
    state_dict[f'{name}{BASE}weight'] = weight
    if f'{name}.bias' in state_dict:
        state_dict[f'{name}{BASE}bias'] = state_dict.pop(f'{name}.bias')
    state_dict[name + DOWN] = down
    state_dict[name + UP] = torch.zeros_like(layer.lora_B['default'].weight)
    state_dict[name + ALPHA] = layer.alpha
    if 'default' in layer.lora_magnitude_vector:
        # Of the weight as the model will have it: no row is scaled then.
        state_dict[name + MAGNITUDE] = torch.linalg.norm(
            weight.to(down), dim=1
        )


def _check_alpha(
    layer: nn.Module, state_dict: dict[str, Tensor], name: str
) -> None:
    given = state_dict.get(name + ALPHA)
    if given is not None and int(given) != layer.lora_alpha['default']:
        raise InputError(
            f'the adapters of the checkpoint have alpha={int(given)} '
            f'({name}), those of the model '
            f'alpha={layer.lora_alpha["default"]}: set '
            f'model.adapters.alpha={int(given)}'
        )


def merge_adapted_layers(module: nn.Module) -> int:
    """Replace a module's adapted layers by plain ones, in place.

    The module then gives the same outputs (up to rounding) and has the keys
    of one that never had adapters; for export and deployment.

    Args:
        module: Any module; without adapters nothing happens.

    Returns:
        How many layers were merged.
    """
    adapted = [(n, m) for n, m in module.named_modules() if is_adapted(m)]
    for name, layer in adapted:
        parent, _, child = name.rpartition('.')
        setattr(module.get_submodule(parent), child, _merged_layer(layer))
    return len(adapted)


@torch.no_grad()
def _merged_layer(layer: nn.Module) -> nn.Linear:
    magnitude = None
    if 'default' in layer.lora_magnitude_vector:
        magnitude = layer.lora_magnitude_vector['default'].weight
    plain = layer.base_layer
    plain.weight.copy_(
        merged_weight(
            plain.weight,
            layer.lora_A['default'].weight,
            layer.lora_B['default'].weight,
            magnitude,
            layer.lora_alpha['default'],
        )
    )
    return plain.train(layer.training)
