"""Refusing checkpoints that do not fit, before anything is loaded.

mmengine loads what fits and logs the rest as a warning; a detector that is
half loaded looks like a bad model. So ours raise.
"""

from typing import Any

from torch import Tensor, nn

from rfdetr_mm.errors import InputError

MAX_LINES = 8


def refuse_misfits(
    module: nn.Module, state_dict: dict[str, Tensor], prefix: str
) -> None:
    """Raise unless a state dict has exactly the module's keys and shapes.

    Args:
        module: The module that is about to load.
        state_dict: Keys to tensors, adapted where the module can adapt.
        prefix: What the module's keys begin with.

    Raises:
        InputError: Naming the missing, unknown and mis-shaped keys.
    """
    wanted = {prefix + k: v for k, v in module.state_dict().items()}
    given = {k: v for k, v in state_dict.items() if k.startswith(prefix)}
    lines = [
        f'missing from the checkpoint: {k}' for k in wanted.keys() - given
    ]
    lines += [f'unknown to the model: {k}' for k in given.keys() - wanted]
    lines = sorted(lines) + _mis_shaped(wanted, given)
    _raise_if_any(lines, type(module).__name__)


class AdaptingModule(nn.Module):
    """Base of a module that fits weights to itself before it loads them.

    It stands before mmengine's or mmdet's base class. A key that has another
    shape than the module's after that is an InputError which names it;
    missing and unknown keys are left to the caller of ``load_state_dict``.
    """

    def adapt_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str = ''
    ) -> None:
        """Fit weights to this module, in place.

        Args:
            state_dict: Keys to values; only entries are replaced, the
                tensors themselves stay as they are.
            prefix: What this module's keys begin with.

        Raises:
            NotImplementedError: Always here; each module has its own.
        """
        raise NotImplementedError

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        self.adapt_state_dict(state_dict, prefix)
        wanted = {prefix + k: v for k, v in self.state_dict().items()}
        _raise_if_any(_mis_shaped(wanted, state_dict), type(self).__name__)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _mis_shaped(
    wanted: dict[str, Tensor], given: dict[str, Tensor]
) -> list[str]:
    return [
        f'other shape: {key} is {tuple(given[key].shape)} in the checkpoint '
        f'and {tuple(value.shape)} in the model'
        for key, value in wanted.items()
        if key in given and given[key].shape != value.shape
    ]


def _raise_if_any(lines: list[str], model_name: str) -> None:
    if not lines:
        return
    shown = lines[:MAX_LINES]
    if len(lines) > MAX_LINES:
        shown.append(f'... and {len(lines) - MAX_LINES} more')
    raise InputError(
        f'the checkpoint does not fit this {model_name}; nothing was loaded. '
        'Use the config of the variant that the checkpoint was made for; to '
        'load one part only, give that part an init_cfg of type Pretrained '
        "with a prefix such as 'backbone.'.\n  " + '\n  '.join(shown)
    )
