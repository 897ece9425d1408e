"""Optimizers and schedules by name, path or callable, as configs."""

import functools
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.utils import get_object_from_string
from torch.optim import Optimizer

from rfdetr_mm.errors import InputError

MANAGED = ('step', 'cosine')
"""The two schedules of this package, :mod:`rfdetr_mm.engine.warmup_lr`."""

# What the recipe gives to optimizers.
_OF_RECIPE = ('params', 'lr', 'weight_decay')
# torch's schedules, and those of mmengine with the same arguments.
_SCHEDULES = {
    'StepLR': 'StepLR',
    'MultiStepLR': 'MultiStepLR',
    'ConstantLR': 'ConstantLR',
    'LinearLR': 'LinearLR',
    'ExponentialLR': 'ExponentialLR',
    'CosineAnnealingLR': 'CosineAnnealingLR',
    'ReduceLROnPlateau': 'ReduceOnPlateauLR',
}
# mmengine's names of arguments of torch.
_RENAMED = {'min_lr': 'min_value'}
_RULES = {'min': 'less', 'max': 'greater'}


def as_path(what: str, given: Any, kwargs: Mapping[str, Any]) -> tuple:
    """Write a class or ``functools.partial`` as its path and arguments.

    Args:
        what: Name of the argument, for messages.
        given: A name, a path with dots, a class, or a partial of one.
        kwargs: Its arguments, for a name or path.

    Returns:
        Name or path, and its arguments.

    Raises:
        InputError: If it is something else, or cannot be imported by a
            path, which a checkpoint must hold.
    """
    if isinstance(given, str):
        if not given.strip():
            raise InputError(f'{what} must not be empty')
        return given.strip(), dict(kwargs)
    own: dict[str, Any] = {}
    if isinstance(given, functools.partial):
        if given.args:
            raise InputError(
                f'{what}: give the arguments of functools.partial by their '
                f'names, got {given.args!r}'
            )
        given, own = given.func, dict(given.keywords)
    if kwargs:
        raise InputError(
            f'{what}_kwargs are for names and paths; a callable has its '
            'arguments by functools.partial'
        )
    name = getattr(given, '__qualname__', '<')
    if not callable(given) or '<' in name:
        raise InputError(
            f'{what} must be a name, a path such as torch.optim.SGD, or a '
            'class or functools.partial that can be imported, since '
            f'checkpoints hold the config; got {given!r}'
        )
    return f'{given.__module__}.{name}', own


def optimizer_config(
    given: Any, kwargs: Mapping[str, Any], lr: float, weight_decay: float
) -> dict[str, Any]:
    """Make the config of an optimizer.

    Args:
        given: See :func:`as_path`; names are those of torch.optim, in upper
            or lower case.
        kwargs: Its further arguments.
        lr: Learning rate of neck and head, whose multiples the groups get.
        weight_decay: For optimizers that have one.

    Returns:
        ``optim_wrapper.optimizer``.

    Raises:
        InputError: If there is no such optimizer, or it has no such
            argument.

    Source: rfdetr 1.11.2, config.py, TrainConfig.optimizer (names).
    """
    path, kwargs = as_path('optimizer', given, kwargs)
    known = {
        name.lower(): getattr(torch.optim, name)
        for name in torch.optim.__all__
        if inspect.isclass(getattr(torch.optim, name, None))
        and issubclass(getattr(torch.optim, name), Optimizer)
        and getattr(torch.optim, name) is not Optimizer
    }
    if '.' in path:
        found = _imported('optimizer', path)
    else:
        found = known.get(path.lower())
        if found is None:
            names = ', '.join(sorted(known))
            raise InputError(
                f'optimizer={given!r} is not one of torch.optim: {names}; '
                'others by their path, such as a_package.module.Class'
            )
        path = found.__name__
    arguments = inspect.signature(found).parameters
    takes_any = any(
        one.kind is inspect.Parameter.VAR_KEYWORD for one in arguments.values()
    )
    for name in kwargs:
        if name in _OF_RECIPE and '.' not in path:
            raise InputError(
                f'optimizer_kwargs cannot have {name}: it is an argument of '
                'train() (lr, lr_encoder, weight_decay)'
            )
        if name not in arguments and not takes_any:
            raise InputError(
                f'optimizer={path} has no argument {name!r}; it has '
                f'{", ".join(list(arguments)[1:])}'
            )
    config = dict(type=path, lr=lr, **{**kwargs})
    if 'weight_decay' in arguments and 'weight_decay' not in kwargs:
        config['weight_decay'] = weight_decay
    if path == 'AdamW':
        config.setdefault('fused', 'auto')
    return config


def _imported(what: str, path: str) -> Any:
    try:
        found = get_object_from_string(path)
    except (ImportError, AttributeError, ValueError):
        found = None
    if not callable(found):
        raise InputError(
            f'{what}={path!r} cannot be imported as a class: give the path of '
            'one in a package that is installed'
        )
    return found


def schedule_configs(
    given: Any,
    kwargs: Mapping[str, Any],
    interval: str,
    monitor: str,
    warmup_epochs: float,
) -> list[dict[str, Any]]:
    """Make the configs of one of torch's schedules by mmengine's.

    Args:
        given: See :func:`as_path`; one of torch.optim.lr_scheduler.
        kwargs: Its arguments, under torch's names.
        interval: ``'step'`` or ``'epoch'``: when it moves on, and what its
            arguments count.
        monitor: The metric that ``ReduceLROnPlateau`` watches.
        warmup_epochs: Epochs of a linear warm-up before it; whole ones.

    Returns:
        ``param_scheduler``.

    Raises:
        InputError: If there is no such schedule.

    Source: rfdetr 1.11.2, config.py, TrainConfig.lr_scheduler (names).
    """
    path, kwargs = as_path('lr_scheduler', given, kwargs)
    name = path.removeprefix('torch.optim.lr_scheduler.')
    if name not in _SCHEDULES:
        raise InputError(
            f'lr_scheduler={given!r} must be one of {", ".join(MANAGED)}, or '
            f'of torch.optim.lr_scheduler: {", ".join(_SCHEDULES)}; others '
            'are param_scheduler of a config, any of mmengine'
        )
    found = _imported('lr_scheduler', f'torch.optim.lr_scheduler.{name}')
    known = [*inspect.signature(found).parameters][1:]
    for key in kwargs:
        if key not in known:
            raise InputError(
                f'lr_scheduler={name} has no argument {key!r}; it has '
                f'{", ".join(known)}'
            )
    config: dict[str, Any] = dict(type=_SCHEDULES[name])
    if name == 'ReduceLROnPlateau':
        kwargs['rule'] = _RULES[kwargs.pop('mode', 'min')]
        if 'threshold_mode' in kwargs:
            kwargs['threshold_rule'] = kwargs.pop('threshold_mode')
        config['monitor'] = monitor
        interval = 'epoch'
    if 'total_iters' in known:
        # mmengine's end is the step behind.
        total = inspect.signature(found).parameters['total_iters'].default
        kwargs['end'] = kwargs.pop('total_iters', total) + 1
    kwargs.pop('verbose', None)
    config.update({_RENAMED.get(k, k): v for k, v in kwargs.items()})
    config['by_epoch'] = interval == 'epoch'
    if not warmup_epochs or name == 'ReduceLROnPlateau':
        return [config]
    warmup = dict(
        type='LinearLR',
        start_factor=1e-3,
        end=max(1, round(warmup_epochs)),
        convert_to_iter_based=True,
    )
    return [warmup, config]
