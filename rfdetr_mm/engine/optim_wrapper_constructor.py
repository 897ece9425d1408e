"""Learning rates and weight decays of RF-DETR's parameters."""

import logging
from numbers import Real
from typing import Any

from mmdet.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.utils.dl_utils.parrots_wrapper import (
    _BatchNorm,
    _InstanceNorm,
)
from torch import nn
from torch.optim import Optimizer

from rfdetr_mm.errors import InputError
from rfdetr_mm.stack import has_fused_adamw

# Upstream: lr_encoder / lr, lr_vit_layer_decay, lr_component_decay
DEFAULTS = dict(
    backbone_lr_mult=1.5, layer_decay_rate=0.8, component_decay_rate=0.7
)
# What a ViT has before its blocks, by the first part of the name
EMBEDDINGS = (
    'cls_token',
    'mask_token',
    'pos_embed',
    'register_tokens',
    'patch_embed',
)
# Of a group of the optimizer, beside its learning rate
_SETTINGS = ('weight_decay', 'betas', 'eps', 'momentum')
NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class RFDETROptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Parameter groups of RF-DETR's training recipe.

    ``lr`` and ``weight_decay`` of the optimizer config are scaled by where
    in the detector a parameter lives:

    * in a module named ``backbone``: lr * backbone_lr_mult *
      layer_decay_rate**(n + 1 - layer) * component_decay_rate**2 with
      n = max(out_indices) + 2; layer is 0 for the embeddings (tokens,
      position table, patch projection), i + 1 for ``blocks.i`` and n + 1
      for anything else (the final norm). Embeddings, biases and norms have
      no weight decay; layer scales have.
    * in a module named ``decoder`` (``bbox_head.decoder`` of ``RFDETRHead``,
      ``decoder`` of mmdet's DETRs): lr * component_decay_rate.
    * anywhere else: lr. Outside the backbone everything is decayed, biases
      and norms as well.

    The names are looked for anywhere in a parameter's path, so wrapped
    detectors (``student.backbone``) follow the same rules. A backbone
    without ``blocks`` and ``out_indices`` (ResNet, Swin) gets no layer
    decay, i.e. lr * backbone_lr_mult * component_decay_rate**2.

    Parameters with equal settings share one group, which fused and foreach
    optimizers want (Nano: 320 trained tensors in 28 groups). With
    ``fused='auto'`` in the optimizer's config, the fused kernel is asked for
    if all trainable parameters are on CUDA devices or, from torch 2.4 on, on
    a CPU; anywhere else the key is dropped. Parameters with
    ``requires_grad=False`` are left out, and a parameter that is used in two
    places appears once.

    Args:
        optim_wrapper_cfg: Config of the optimizer wrapper; its ``optimizer``
            needs ``lr``.
        paramwise_cfg: Any of ``backbone_lr_mult`` (1.5), ``layer_decay_rate``
            (0.8), ``component_decay_rate`` (0.7), and ``custom_keys``: a dict
            from a part of a parameter's name to
            ``dict(lr_mult=..., decay_mult=...)``, which replaces the rules
            above with multiples (1 if missing) of the optimizer's values;
            the longest matching key wins, as in mmengine.

    Raises:
        TypeError: If ``paramwise_cfg`` or ``custom_keys`` is not a dict.
        InputError: If a key is unknown, a rate is negative or not a number,
            or ``lr`` is missing.

    Source: rfdetr 1.11.2, training/param_groups.py, get_param_dict, and
        models/backbone/backbone.py, Backbone.get_named_param_lr_pairs.
    """

    def __init__(
        self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None
    ) -> None:
        paramwise_cfg = {} if paramwise_cfg is None else paramwise_cfg
        if isinstance(paramwise_cfg, dict):
            paramwise_cfg = {**DEFAULTS, **paramwise_cfg}
        super().__init__(optim_wrapper_cfg, paramwise_cfg)

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        rates = dict(self.paramwise_cfg)
        custom_keys = rates.pop('custom_keys', {})
        _check_rates('paramwise_cfg', rates, [*DEFAULTS], ['custom_keys'])
        for key, mults in custom_keys.items():
            where = f'paramwise_cfg.custom_keys[{key!r}]'
            _check_rates(where, mults, ['lr_mult', 'decay_mult'])
        if self.base_lr is None:
            raise InputError(
                'RFDETROptimWrapperConstructor scales the learning rate of '
                'the optimizer, which is missing: set '
                'optim_wrapper.optimizer.lr, e.g. 1e-4.'
            )

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer wrapper of a model.

        Args:
            model: The model, on the device where it is trained.

        Returns:
            The wrapper; its optimizer has one group per setting.
        """
        if self.optimizer_cfg.get('fused') == 'auto':
            trained = [p for p in model.parameters() if p.requires_grad]
            if all(has_fused_adamw(p.device.type) for p in trained):
                self.optimizer_cfg['fused'] = True
            else:
                del self.optimizer_cfg['fused']
        wrapper = super().__call__(model)
        _keep_settings(wrapper.optimizer)
        return wrapper

    def add_params(
        self, params: list[dict], module: nn.Module, **kwargs: Any
    ) -> None:
        """Append the parameter groups of a model.

        Args:
            params: Groups, extended in place; each has ``params`` (a list),
                ``lr`` and, if a weight decay is known, ``weight_decay``.
            module: The model.
            **kwargs: Not used; the rest of mmengine's signature.
        """
        groups: dict[tuple, list] = {}
        num_frozen = 0
        for name, param in module.named_parameters():
            if not param.requires_grad:
                num_frozen += 1
                continue
            settings = self._custom_settings(name)
            if settings is None:
                settings = self._settings(module, name)
            groups.setdefault(settings, []).append((name, param))
        for (lr, weight_decay), members in groups.items():
            group = dict(params=[p for _, p in members], lr=lr)
            if weight_decay is not None:
                group['weight_decay'] = weight_decay
            params.append(group)
        _log_groups(groups, num_frozen)

    def _custom_settings(self, name: str) -> tuple | None:
        """(lr, weight decay) by the longest custom key in the name."""
        custom_keys = self.paramwise_cfg.get('custom_keys', {})
        matches = sorted(key for key in custom_keys if key in name)
        if not matches:
            return None
        mults = custom_keys[max(matches, key=len)]
        weight_decay = self.base_wd
        if weight_decay is not None:
            weight_decay = weight_decay * mults.get('decay_mult', 1.0)
        return self.base_lr * mults.get('lr_mult', 1.0), weight_decay

    def _settings(self, model: nn.Module, path: str) -> tuple:
        """(lr, weight decay) of one parameter by the rules of the recipe."""
        component_decay = self.paramwise_cfg['component_decay_rate']
        parts = path.split('.')
        if 'backbone' in parts[:-1]:
            depth = parts.index('backbone') + 1
            backbone = model.get_submodule('.'.join(parts[:depth]))
            inner_path = '.'.join(parts[depth:])
            lr = (
                self.base_lr
                * self.paramwise_cfg['backbone_lr_mult']
                * self._layer_decay(backbone, inner_path)
                * component_decay**2
            )
            if _is_decayed(backbone, inner_path):
                return lr, self.base_wd
            return lr, 0.0
        if 'decoder' in parts[:-1]:
            return self.base_lr * component_decay, self.base_wd
        return self.base_lr, self.base_wd

    def _layer_decay(self, backbone: nn.Module, path: str) -> float:
        """Factor on the learning rate of one backbone parameter."""
        has_blocks = hasattr(backbone, 'blocks')
        if not (has_blocks and hasattr(backbone, 'out_indices')):
            return 1.0
        # 0-based indices: max + 1 blocks are used, and upstream adds one more
        num_layers = max(backbone.out_indices) + 2
        parts = path.split('.')
        layer = num_layers + 1
        if parts[0] in EMBEDDINGS:
            layer = 0
        elif parts[0] == 'blocks':
            layer = int(parts[1]) + 1
        return self.paramwise_cfg['layer_decay_rate'] ** (
            num_layers + 1 - layer
        )


def _keep_settings(optimizer: Optimizer) -> None:
    """Let a resumed optimizer have the settings of the config, not the file's.

    Learning rates are the schedule's business, see ``WarmupStepLR``.
    """
    settings = [
        {name: group[name] for name in _SETTINGS if name in group}
        for group in optimizer.param_groups
    ]

    def check(_: Optimizer, state_dict: dict) -> None:
        saved = [len(group['params']) for group in state_dict['param_groups']]
        own = [len(group['params']) for group in optimizer.param_groups]
        if saved != own:
            raise InputError(
                f'the training to be resumed had {len(saved)} groups of '
                f'parameters ({sum(saved)} tensors), the config makes '
                f'{len(own)} ({sum(own)} tensors), so that the averages of '
                'the optimizer cannot be taken over. Resume with the '
                "layer_decay_rate, custom_keys and frozen parts of the file's "
                'training (its config is in its work dir), or start a new '
                'training from its weights by load_from'
            )

    def keep(_: Optimizer) -> None:
        changed = {}
        for group, own in zip(optimizer.param_groups, settings):
            for name, value in own.items():
                if not _are_same(group[name], value):
                    changed.setdefault(name, (group[name], value))
            group.update(own)
        for name, (old, new) in changed.items():
            print_log(
                f'The resumed training had {name}={old}; it goes on with '
                f'{name}={new} of the config.',
                logger='current',
                level=logging.WARNING,
            )

    optimizer.register_load_state_dict_pre_hook(check)
    optimizer.register_load_state_dict_post_hook(keep)


def _are_same(old: Any, new: Any) -> bool:
    """Whether two settings are equal; pairs may be lists or tuples."""
    return old == new or (
        isinstance(old, (list, tuple)) and list(old) == list(new)
    )


def _is_decayed(backbone: nn.Module, path: str) -> bool:
    """Whether a backbone parameter is not an embedding, bias or norm."""
    if path.split('.')[0] in EMBEDDINGS or 'bias' in path or 'norm' in path:
        return False
    owner = backbone.get_submodule(path.rpartition('.')[0])
    return not isinstance(owner, NORMS)


def _check_rates(
    where: str, rates: dict, known: list[str], also: list[str] | None = None
) -> None:
    unknown = sorted(set(rates) - set(known))
    if unknown:
        raise InputError(
            f'{where} of RFDETROptimWrapperConstructor knows the keys '
            f'{known + (also or [])}, got {unknown}. Use custom_keys for '
            "settings of single parameters, or mmengine's default "
            'constructor.'
        )
    for name, value in rates.items():
        if not isinstance(value, Real) or value < 0:
            raise InputError(
                f'{where}: {name} must be a number of at least 0, got '
                f'{value!r}.'
            )


def _log_groups(groups: dict[tuple, list], num_frozen: int) -> None:
    lines = [
        f'{len(groups)} parameter groups; {num_frozen} frozen tensors are '
        'left out'
    ]
    for (lr, weight_decay), members in groups.items():
        first = members[0][0]
        shown = 'default' if weight_decay is None else f'{weight_decay:.4g}'
        lines.append(
            f'  lr {lr:.4g}, weight decay {shown}: {len(members)} tensors, '
            f'{first} first'
        )
    print_log('\n'.join(lines), logger='current')
