"""Options ``KEY=VALUE`` that change entries of a config.

mmengine merges any key, so that a misspelled one changes nothing and says
nothing. Here a key must be in the config, or must be one that somebody reads
at its place: an argument of the class that the group's ``type`` names, or an
entry that mmengine's Runner takes. A ``+`` before a key adds it all the same.
"""

import argparse
import difflib
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import mmdet.registry
import mmengine.registry
import torch
from mmengine.config import Config, DictAction
from mmengine.registry import Registry
from mmengine.runner import FlexibleRunner, Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch.utils.data import DataLoader

from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.config_facts import check_sizes_agree, set_resolution

ADDS = '+'
"""What a key begins with that is added to a group that does not take it."""

_SPACES_WITHIN = re.compile(r'(?<=[^\s,()\[\]]) +(?=[^\s,()\[\]])')
_MAX_NAMES = 12
_ALMOST = 0.75  # of difflib: a slip of one letter in four
# Read by mmengine of every group.
_MMENGINE_KEYS = ('type', '_delete_', '_scope_')
# Entries that are read beside the arguments of mmengine's two Runners.
_READ_ELSEWHERE = (
    'activation_checkpointing',
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
_NEW = object()


class OptionAction(DictAction):
    """KEY=VALUE options that may have spaces within, as paths and names do.

    mmengine's own removes all spaces, and ends in a traceback where a ``=``
    or a bracket is missing.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Read the options, or end with the usage and one line."""
        for text in values or ():
            problem = _malformed(text)
            if problem:
                parser.error(f'{option_string} {text}: {problem}')
        super().__call__(parser, namespace, values, option_string)

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        kept = _SPACES_WITHIN.sub(lambda m: '\0' * len(m.group()), val)
        return _with_spaces(DictAction._parse_iterable(kept))


def read_options(texts: Iterable[str]) -> dict[str, Any]:
    """Read options, each a text ``KEY=VALUE``, as the command line does.

    Args:
        texts: The options.

    Returns:
        Key to value.

    Raises:
        InputError: If one is no option.
    """
    options = {}
    for text in texts:
        problem = _malformed(text)
        if problem:
            raise InputError(f'--cfg-options {text}: {problem}')
        key, _, value = text.partition('=')
        options[key] = OptionAction._parse_iterable(value)
    return options


def _malformed(text: str) -> str | None:
    key, equals, value = text.partition('=')
    if not equals or not key.strip(ADDS):
        return 'an option is written KEY=VALUE'
    if any(not part for part in key.removeprefix(ADDS).split('.')):
        return f'the key {key!r} has an empty part; parts are joined by one .'
    for opening, closing in ('()', '[]'):
        if value.count(opening) != value.count(closing):
            return (
                f'{value.count(opening)} times {opening!r} but '
                f'{value.count(closing)} times {closing!r}; a list is '
                '"[a,b]", in quotes'
            )
    return None


def _with_spaces(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_with_spaces, value))
    return value.replace('\0', ' ') if isinstance(value, str) else value


def merge_options(
    cfg: Config,
    options: Mapping[str, Any],
    types: Mapping[str, str] | None = None,
) -> None:
    """Merge options into a config, and refuse those without an effect.

    ``resolution`` is the image size in all places that depend on it,
    ``data_root`` the folder of all data sets.

    Args:
        cfg: The config, changed in place.
        options: Key to value, as on the command line.
        types: Types that another option of the tool will give to a group,
            such as ``{'optim_wrapper': 'AmpOptimWrapper'}``; their arguments
            are known then.

    Raises:
        InputError: If a key is not known at its place, an option cannot have
            an effect, the image size cannot be, or the config's places say
            different ones.
    """
    options = dict(options)
    resolution = options.pop('resolution', None)
    check_options(cfg, options, types)
    options = {key.removeprefix(ADDS): v for key, v in options.items()}
    old = cfg.get('data_root')
    for group in list(_empty_groups(cfg, options)):
        options[f'{group}._delete_'] = True
    try:
        cfg.merge_from_dict(options)
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(
            f'--cfg-options {" ".join(options)}: these do not go together or '
            f'not with the config ({error})'
        ) from error
    if 'data_root' in options and 'dataset_layout' not in cfg:
        _move_data(cfg, old, options)
    if resolution is not None:
        set_resolution(cfg, resolution)
    check_sizes_agree(cfg)


def _empty_groups(cfg: Config, options: Iterable[str]) -> Iterator[str]:
    """Groups that are None in the config and get entries by options."""
    for option in options:
        parts = option.split('.')
        for i in range(1, len(parts)):
            if _node_at(cfg, parts[:i]) is None:
                yield '.'.join(parts[:i])
                break


def _node_at(cfg: Any, parts: Iterable[str]) -> Any:
    """The entry at a place; ``_NEW`` if there is none."""
    node = cfg
    for part in parts:
        if isinstance(node, (list, tuple)):
            inside = part.isdigit() and int(part) < len(node)
            node = node[int(part)] if inside else _NEW
        else:
            is_group = isinstance(node, (Mapping, Config))
            node = node.get(part, _NEW) if is_group else _NEW
    return node


def _move_data(cfg: Config, old: str | None, options: Iterable[str]) -> None:
    moved = [
        _move(cfg[key], old, cfg.data_root)
        for key in cfg
        if key.endswith(('_dataloader', '_evaluator'))
    ]
    named = any(option.endswith('.data_root') for option in options)
    if not any(moved) and not named:
        raise InputError(
            'data_root changes nothing in this config, whose data sets '
            f'do not lie below its own data_root={old!r}; set data_root '
            'of each data set, such as train_dataloader.dataset.data_root'
        )


def _move(node: Any, old: str | None, new: str) -> bool:
    """Let paths below one folder be below another, in place."""
    is_dict = isinstance(node, dict)
    if not old or not (is_dict or isinstance(node, list)):
        return False
    moved = False
    for key, value in list(node.items() if is_dict else enumerate(node)):
        if isinstance(value, str) and f'{value}/'.startswith(
            f'{old.rstrip("/")}/'
        ):
            rest = value[len(old.rstrip('/')) :]
            node[key] = new.rstrip('/') + rest
            moved = True
        else:
            moved |= _move(value, old, new)
    return moved


def check_options(
    cfg: Config,
    options: Mapping[str, Any],
    types: Mapping[str, str] | None = None,
) -> None:
    """Refuse options whose keys nobody reads; the config is not changed.

    Args:
        cfg: The config.
        options: Key to value; a key that begins with ``+`` is added anyhow.
        types: As in :func:`merge_options`.

    Raises:
        InputError: With one part for each wrong key, and the nearest key
            that is right.
    """
    leaves = dict(_leaves(options))
    values = {key.removeprefix(ADDS): v for key, v in leaves.items()}
    for place, name in (types or {}).items():
        values.setdefault(f'{place}.type', name)
    problems = [_problem(cfg, leaf, values) for leaf in leaves]
    found = list(dict.fromkeys(filter(None, problems)))
    if found:
        raise InputError('--cfg-options ' + '; '.join(found))


def _leaves(
    options: Mapping[str, Any], prefix: str = ''
) -> Iterator[tuple[str, Any]]:
    for key, value in options.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f'{prefix}{key}.')
        else:
            yield prefix + key, value


def _problem(
    cfg: Config, option: str, values: Mapping[str, Any]
) -> str | None:
    """What is wrong with the key of an option, or with its type."""
    may_add = option.startswith(ADDS)
    option = option.removeprefix(ADDS)
    parts = option.split('.')
    node: Any = cfg
    for i, part in enumerate(parts):
        place = parts[:i]
        where = '.'.join(place)
        if values.get(f'{where}._delete_'):
            node = _NEW
        if isinstance(node, (list, tuple)):
            problem = _entry_problem(node, where, parts[i:])
            if problem:
                return f'{option}: {problem}'
            node = node[int(part)]
            continue
        if node is None:
            node = _NEW
        is_group = isinstance(node, (Mapping, Config))
        if not is_group and node is not _NEW:
            return f'{option}: {where} is {node!r} and has no entries'
        if is_group and part in node:
            node = node[part]
            continue
        known = _known_keys(place, node, values)
        if not may_add and not known.takes(part):
            return _unknown(cfg, parts, i, known)
        node = _NEW
    if not place and node is not _NEW:
        return None if may_add else _unread(option, node)
    is_known = parts[-1] == 'type' and node is not _NEW and _kinds(node)
    return _type_problem(option, values[option]) if is_known else None


def _entry_problem(
    entries: list | tuple, where: str, rest: list[str]
) -> str | None:
    part = rest[0]
    if not part.isdigit() or int(part) >= len(entries):
        return (
            f'{where} is a list whose {len(entries)} entries are numbered '
            f'from 0, and {part!r} is none of them'
        )
    simple = not isinstance(entries[int(part)], (Mapping, list))
    if isinstance(entries, tuple) or simple:
        shown = str(list(entries)).replace(' ', '')
        return f'write all entries of this list, such as {where}="{shown}"'
    return None


def _unread(name: str, value: Any) -> str | None:
    """A name that the config file has for itself."""
    if name in _top_level() or isinstance(value, (Mapping, list)):
        return None
    return (
        f'{name} changes nothing: it is a name within the config file, which '
        'was used when the file was read. Change the entries that have its '
        'value (for the image size: resolution=…)'
    )


def _type_problem(option: str, name: Any) -> str | None:
    """What is wrong with a class that replaces a registered one."""
    if not isinstance(name, str) or '.' in name or _kinds(name):
        return None
    close = difflib.get_close_matches(name, _all_types(), 1)
    hint = f'; did you mean {close[0]}?' if close else ''
    return f'{option}={name}: no registry has {name}{hint}'


@dataclass
class _Keys:
    """The keys that somebody reads at one place.

    Args:
        names: Those that are known.
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


def _known_keys(
    place: list[str], node: Any, values: Mapping[str, Any]
) -> _Keys:
    where = '.'.join(place)
    is_group = isinstance(node, (Mapping, Config))
    neighbours = set(map(str, node)) if is_group else set()
    if not place:
        return _Keys(set(_top_level()), False, neighbours, 'a config')
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
        return _Keys(beside, False, neighbours, where)
    if where == 'optim_wrapper.paramwise_cfg':
        return _Keys(set(), True, neighbours, where)
    if where.endswith('_dataloader') and len(place) == 1:
        names, is_open = _arguments(DataLoader)
        return _Keys({*names, *_LOADER_KEYS}, is_open, neighbours, where)
    takers = _FUNCTIONS.get(where) or _kinds(kind)
    if not takers:
        is_open = not beside
        return _Keys(beside, is_open, neighbours, where)
    owner = where if where in _FUNCTIONS else f'{where} ({_name(kind)})'
    keys = _Keys(beside, False, neighbours, owner)
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


def _unknown(cfg: Config, parts: list[str], i: int, known: _Keys) -> str:
    """The message about the key ``parts[i]``, which nobody reads."""
    option = '.'.join(parts)
    close = known.nearest(parts[i])
    if close is not None:
        right = '.'.join([*parts[:i], close, *parts[i + 1 :]])
        hint = f'did you mean {right}?'
    elif place := _place_of(cfg, option):
        hint = f'did you mean {place}?'
    else:
        names = sorted(known.names | known.neighbours)
        more = ', …' if len(names) > _MAX_NAMES else ''
        hint = f'it has {", ".join(names[:_MAX_NAMES])}{more};'
    return (
        f'{option}: {known.owner} has no {parts[i]}; {hint} '
        f'{ADDS}{option}=… adds it all the same'
    )


def _place_of(cfg: Config, option: str) -> str | None:
    """The only place in a config whose last parts are an option's key."""
    found = [
        place for place, _ in _leaves_of(cfg) if place.endswith(f'.{option}')
    ]
    return min(found, key=lambda place: place.count('.'), default=None)


def _leaves_of(node: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
    is_group = isinstance(node, (Mapping, Config))
    if not is_group and not isinstance(node, list):
        return
    for key, value in node.items() if is_group else enumerate(node):
        yield f'{prefix}{key}', value
        yield from _leaves_of(value, f'{prefix}{key}.')


@functools.cache
def _top_level() -> frozenset[str]:
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
def _all_types() -> tuple[str, ...]:
    return tuple({n for r in _registries() for n in r.module_dict})


def _kinds(kind: Any) -> tuple[Any, ...]:
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
