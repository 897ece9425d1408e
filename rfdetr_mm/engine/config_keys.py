"""Which keys of a config somebody reads, at each place."""

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import mmdet.registry
import mmengine.registry
import torch
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import FlexibleRunner, Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch.utils.data import DataLoader

_ALMOST = 0.75  # of difflib: a slip of one letter in four
# Read by mmengine of every group.
_MMENGINE_KEYS = ('type', '_delete_', '_scope_')
# Entries that are read beside the arguments of mmengine's two Runners.
_READ_ELSEWHERE = (
    'activation_checkpointing',
    'apply_orientation',
    'auto_scale_lr',
    'broadcast_buffers',
    'compile',
    'crowd_as_object',
    'custom_imports',
    'data_root',
    'dataset_layout',
    'detect_anomalous_params',
    'device',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_name',
    'model_wrapper_cfg',
    'notes',
    'resolution',
    'runner_type',
    'search_space',
    'static_graph',
    'sync_bn',
    'test_pipeline',
    'train_pipeline',
    'tta_model',
    'tta_pipeline',
)
# The class that a group without a type is for.
_DEFAULT_TYPES = {
    'log_processor': 'LogProcessor',
    'optim_wrapper': 'OptimWrapper',
    'test_cfg': 'TestLoop',
    'train_cfg': 'EpochBasedTrainLoop',
    'val_cfg': 'ValLoop',
}
# What mmengine reads of a group beside the arguments of its class.
_READ_BESIDE = {
    'auto_scale_lr': ('enable', 'base_batch_size'),
    'env_cfg': ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
    'optim_wrapper': ('optimizer', 'paramwise_cfg', 'constructor'),
    'train_cfg': ('by_epoch',),
    'val_cfg': ('fp16',),
    'test_cfg': ('fp16',),
}
_LOADER_KEYS = (
    'batch_sampler',
    'disable_subprocess_warning',
    'num_batch_per_epoch',
)
# The function that takes a group, which has no type, as its arguments.
_FUNCTIONS: dict[str, tuple[Callable, ...]] = {
    'compile': (torch.compile,),
    'env_cfg.mp_cfg': (set_multi_processing,),
    'optim_wrapper.clip_grad': (
        torch.nn.utils.clip_grad_norm_,
        torch.nn.utils.clip_grad_value_,
    ),
    'randomness': (Runner.set_randomness,),
}
# Of every class that mmengine builds: a module's initialisation, a hook's
# priority, a schedule's unit and a normalisation's gradients.
_BUILDER_KEYS = (
    'init_cfg',
    'priority',
    'convert_to_iter_based',
    'requires_grad',
)


@dataclass
class Keys:
    """The keys that somebody reads at one place.

    Args:
        names: Names that are known.
        is_open: Whether others are taken as well.
        neighbours: Keys that are there; a new one that is almost one of them
            is taken for a misspelling.
        owner: Who reads them, for messages.
    """

    names: set[str] = field(default_factory=set)
    is_open: bool = False
    neighbours: set[str] = field(default_factory=set)
    owner: str = ''

    def takes(self, name: str) -> bool:
        """Whether a key that is not there may be given."""
        if name in self.names or name in _MMENGINE_KEYS:
            return True
        return self.is_open and not self.nearest(name, _ALMOST)

    def nearest(self, name: str, cutoff: float = 0.6) -> str | None:
        """The key that is most like a wrong one."""
        known = self.names | self.neighbours
        close = difflib.get_close_matches(name, known, 1, cutoff)
        return close[0] if close else None


def known_keys(place: list[str], node: Any, values: Mapping[str, Any]) -> Keys:
    """List the keys that somebody reads at a place of a config.

    Args:
        place: The keys that lead to it.
        node: What the config has there; anything but a group if it has
            nothing.
        values: All options, which may set the type of a group.
    """
    where = '.'.join(place)
    is_group = isinstance(node, (Mapping, Config))
    neighbours = set(map(str, node)) if is_group else set()
    if not place:
        return Keys(set(top_level_keys()), False, neighbours, 'a config')
    own = node.get('type') if is_group else None
    kind = values.get(f'{where}.type', own) or _default_type(where, node)
    beside = set(_READ_BESIDE.get(where, ()))
    if where == 'default_hooks':
        # mmengine builds each entry, so a new one must say what it is.
        beside |= {
            key.split('.')[1]
            for key, value in values.items()
            if key.startswith(f'{where}.')
            and (key.endswith('.type') or value is None)
        }
        return Keys(beside, False, neighbours, where)
    if where == 'optim_wrapper.paramwise_cfg':
        return Keys(set(), True, neighbours, where)
    if where.endswith('_dataloader') and len(place) == 1:
        names, is_open = _arguments(DataLoader)
        return Keys({*names, *_LOADER_KEYS}, is_open, neighbours, where)
    takers = _FUNCTIONS.get(where) or find_kinds(kind)
    if not takers:
        is_open = not beside
        return Keys(beside, is_open, neighbours, where)
    owner = where if where in _FUNCTIONS else f'{where} ({_name(kind)})'
    keys = Keys(beside, False, neighbours, owner)
    for taker in takers:
        names, is_open = _arguments(taker)
        keys.names.update(names)
        keys.is_open |= is_open
    if where not in _FUNCTIONS:
        keys.names.update(_BUILDER_KEYS)
    return keys


def _default_type(where: str, node: Any) -> str | None:
    by_iter = isinstance(node, Mapping) and node.get('by_epoch') is False
    if where == 'train_cfg' and by_iter:
        return 'IterBasedTrainLoop'
    return _DEFAULT_TYPES.get(where)


def _name(kind: Any) -> str:
    return kind if isinstance(kind, str) else kind.__name__


@functools.cache
def top_level_keys() -> frozenset[str]:
    """The entries of a config that Runners and the tools read."""
    runners = (Runner, FlexibleRunner)
    names = {n for r in runners for n in inspect.signature(r).parameters}
    return frozenset(names - {'cfg'}) | frozenset(_READ_ELSEWHERE)


@functools.cache
def _registries() -> tuple[Registry, ...]:
    found = {
        id(value): value
        for module in (mmdet.registry, mmengine.registry)
        for value in vars(module).values()
        if isinstance(value, Registry)
    }
    for registry in found.values():
        registry.import_from_location()
    return tuple(found.values())


@functools.cache
def all_types() -> tuple[str, ...]:
    """Names of all registered classes and functions."""
    return tuple({n for r in _registries() for n in r.module_dict})


def find_kinds(kind: Any) -> tuple[Any, ...]:
    """Classes and functions that a group's ``type`` may mean."""
    if kind is None:
        return ()
    if not isinstance(kind, str):
        return (kind,)
    if '.' in kind:  # another package's, or a path to import
        found = [r.get(kind) for r in _registries()]
    else:
        # Registry.get would try to import each unknown name as a module.
        found = [r.module_dict.get(kind) for r in _registries()]
    return tuple({id(x): x for x in found if x is not None}.values())


def _arguments(taker: Any) -> tuple[set[str], bool]:
    """Names of a callable's arguments, and whether it takes any other.

    A class that passes ``**kwargs`` on takes the arguments of the class
    behind it as well.
    """
    if not inspect.isclass(taker):
        try:
            return _named(inspect.signature(taker))
        except (TypeError, ValueError):
            return set(), True
    names: set[str] = set()
    for base in inspect.getmro(taker):
        if '__init__' not in vars(base) or base is object:
            continue
        try:
            more, passes_on = _named(inspect.signature(base.__init__))
        except (TypeError, ValueError):
            return names, True
        names |= more
        if not passes_on:
            return names, False
    return names, True


def _named(signature: inspect.Signature) -> tuple[set[str], bool]:
    kinds = inspect.Parameter
    parameters = signature.parameters.values()
    names = {
        p.name
        for p in parameters
        if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
    }
    is_open = any(p.kind is kinds.VAR_KEYWORD for p in parameters)
    return names - {'self'}, is_open
