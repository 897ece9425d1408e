"""Options ``KEY=VALUE`` that change entries of a config.

mmengine merges any key, so that a misspelled one changes nothing and says
nothing. Here a key must be in the config, or must be one that somebody reads
at its place: an argument of the class that the group's ``type`` names, or an
entry that mmengine's Runner takes. A ``+`` before a key adds it all the same.
"""

import argparse
import difflib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmengine.config import Config, DictAction

from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.config_facts import check_sizes_agree, set_resolution

from .config_keys import (
    Keys,
    all_types,
    find_kinds,
    known_keys,
    top_level_keys,
)

ADDS = '+'
"""What a key begins with that is added to a group that does not take it."""

_SPACES_WITHIN = re.compile(r'(?<=[^\s,()\[\]]) +(?=[^\s,()\[\]])')
_MAX_NAMES = 12
_MAX_KEY = 300  # characters
_MAX_DIGITS = 40
_LONG_NUMBER = re.compile(rf'\d{{{_MAX_DIGITS + 1}}}')
_MAX_DEPTH = 32  # Python and mmengine read deep lists by recursion
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
                parser.error(f'{option_string} {text:.200}: {problem}')
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
        InputError: If one is not an option.
    """
    options = {}
    for text in texts:
        problem = _malformed(text)
        if problem:
            raise InputError(f'--cfg-options {text:.200}: {problem}')
        key, _, value = text.partition('=')
        options[key] = OptionAction._parse_iterable(value)
    return options


def _malformed(text: str) -> str | None:
    key, equals, value = text.partition('=')
    if not equals or not key.strip(ADDS):
        return 'an option is written KEY=VALUE'
    if len(key) > _MAX_KEY:
        return f'a key of {len(key)} characters names no entry of a config'
    if any(not part for part in key.removeprefix(ADDS).split('.')):
        return f'the key {key!r} has an empty part; parts are joined by one .'
    for opening, closing in ('()', '[]'):
        if value.count(opening) != value.count(closing):
            return (
                f'{value.count(opening)} times {opening!r} but '
                f'{value.count(closing)} times {closing!r}; a list is '
                '"[a,b]", in quotes'
            )
    if _LONG_NUMBER.search(value):
        return f'a number of more than {_MAX_DIGITS} digits'
    if _depth(value) > _MAX_DEPTH:
        return (
            f'lists within lists, {_depth(value)} deep, are more than '
            f'{_MAX_DEPTH}'
        )
    try:
        OptionAction._parse_iterable(value)
    except (AssertionError, RecursionError):  # of mmengine's reader
        return (
            'a list begins with its bracket and has commas between its '
            'entries, such as "[1,2]", in quotes'
        )
    return None


def _depth(value: str) -> int:
    steps = ((c in '([') - (c in ')]') for c in value)
    return max(itertools.accumulate(steps), default=0)


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
            an effect, the model cannot take the image size, or the config's
            places say different ones.
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
    if not isinstance(cfg.data_root, str):
        raise InputError(
            'data_root must be the path of a folder, not '
            f'{cfg.data_root!r:.80}; a folder named like a number is written '
            './123'
        )
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
        types: Types as in :func:`merge_options`.

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
        known = known_keys(place, node, values)
        if not may_add and not known.takes(part):
            return _unknown(cfg, parts, i, known)
        node = _NEW
    if not place and node is not _NEW:
        return None if may_add else _unread(option, node)
    is_known = parts[-1] == 'type' and node is not _NEW and find_kinds(node)
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
    if name in top_level_keys() or isinstance(value, (Mapping, list)):
        return None
    return (
        f'{name} changes nothing: it is a name within the config file, which '
        'was used when the file was read. Change the entries that have its '
        'value (for the image size: resolution=…)'
    )


def _type_problem(option: str, name: Any) -> str | None:
    """What is wrong with a class that replaces a registered one."""
    if not isinstance(name, str) or '.' in name or find_kinds(name):
        return None
    close = difflib.get_close_matches(name, all_types(), 1)
    hint = f'; did you mean {close[0]}?' if close else ''
    return f'{option}={name:.80}: no registry has {name:.80}{hint}'


def _unknown(cfg: Config, parts: list[str], i: int, known: Keys) -> str:
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
