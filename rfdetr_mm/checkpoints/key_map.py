"""Finding the rule of every weight, and what is missing or mis-shaped."""

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from .key_rules import RULES, Dim, Rule

DINOV2_DEPTHS = {384: 12, 768: 12, 1024: 24}
"""Blocks by width of the published DINOv2 sizes (small, base, large)."""


@dataclasses.dataclass(frozen=True)
class Match:
    """A key of a file, the rule that it follows and its indices."""

    key: str
    rule: Rule
    indices: Mapping[str, int]


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    escaped = re.escape(template).replace(r'\{', '{').replace(r'\}', '}')
    return re.compile(re.sub(r'\{(\w+)\}', r'(?P<\1>\\d+)', escaped) + r'\Z')


def match_keys(
    keys: Iterable[str], side: str, rules: tuple[Rule, ...] = RULES
) -> tuple[list[Match], list[str]]:
    """Find the rule of every key.

    Args:
        keys: The keys of a state dict.
        side: ``'ours'`` or ``'upstream'``, the layout that they are in.
        rules: The table.

    Returns:
        The matches in the order of the keys, and the keys without a rule.
    """
    matches, unknown = [], []
    for key in keys:
        for rule in rules:
            found = _pattern(getattr(rule, side)).match(key)
            if found:
                indices = {k: int(v) for k, v in found.groupdict().items()}
                matches.append(Match(key, rule, indices))
                break
        else:
            unknown.append(key)
    return matches, unknown


def missing_keys(
    matches: list[Match], side: str, rules: tuple[Rule, ...] = RULES
) -> list[str]:
    """List the keys that a complete file would have besides the given ones.

    Every index word runs from 0 to the highest that any key has. A part that
    a model may lack is either complete in a stage or absent from it.

    Args:
        matches: What :func:`match_keys` has found.
        side: The layout, as in :func:`match_keys`.
        rules: The table.
    """
    counts: dict[str, int] = {}
    options = set()
    for match in matches:
        for word, index in match.indices.items():
            counts[word] = max(counts.get(word, 0), index + 1)
        options.add((match.rule.option, match.indices.get('stage')))
    present = {match.key for match in matches}
    missing = []
    for rule in rules:
        template = getattr(rule, side)
        words = re.findall(r'\{(\w+)\}', template)
        ranges = [range(counts.get(word, 1)) for word in words]
        for values in itertools.product(*ranges):
            indices = dict(zip(words, values))
            option = (rule.option, indices.get('stage'))
            if rule.option is not None and option not in options:
                continue
            key = template.format(**indices)
            if key not in present:
                missing.append(key)
    return missing


def shape_errors(
    matches: list[Match], state_dict: Mapping[str, Tensor], side: str
) -> list[str]:
    """List the weights whose shapes do not agree with the table.

    Args:
        matches: What :func:`match_keys` has found.
        state_dict: The weights.
        side: The layout that they are in.

    Returns:
        One line per weight: key, shape, what the table says. The sizes come
        from the first weight that shows them, in the table's order.
    """
    sizes: dict[str, int] = {}
    errors = []
    order = {rule: index for index, rule in enumerate(RULES)}
    ordered = sorted(matches, key=lambda m: order.get(m.rule, 0))
    # A size shown plainly is believed before one shown as a multiple.
    for plain in (True, False):
        for match in ordered:
            shape = tuple(state_dict[match.key].shape)
            _learn_sizes(shape, shape_of(match.rule, side), sizes, plain)
    for match in ordered:
        shape = tuple(state_dict[match.key].shape)
        expected = shape_of(match.rule, side)
        wanted = tuple(_evaluate(dim, sizes) for dim in expected)
        if len(shape) != len(wanted) or any(
            want not in (None, got) for got, want in zip(shape, wanted)
        ):
            text = ', '.join(
                str(dim if want is None else want)
                for dim, want in zip(expected, wanted)
            )
            errors.append(f'{match.key} {list(shape)}, expected [{text}]')
    return errors + _size_errors(sizes, matches)


def shape_of(rule: Rule, side: str) -> tuple[Dim, ...]:
    """Return the shape of a rule's weight in a layout."""
    if side == 'upstream' or rule.layout == 'same':
        return rule.shape
    if rule.layout == 'stack':
        return ('G', *rule.shape)
    return ('G', 'Q', *rule.shape[1:])


def _learn_sizes(
    shape: tuple[int, ...],
    expected: tuple[Dim, ...],
    sizes: dict[str, int],
    plain: bool,
) -> None:
    if len(shape) != len(expected):
        return
    for got, dim in zip(shape, expected):
        if isinstance(dim, str) and dim != '*':
            factor, letter = _split_dim(dim)
            if (factor == 1) == plain and got % factor == 0:
                sizes.setdefault(letter, got // factor)


def _split_dim(dim: str) -> tuple[int, str]:
    return int(dim[:-1] or 1), dim[-1]


def _evaluate(dim: Dim, sizes: Mapping[str, int]) -> int | None:
    if isinstance(dim, int):
        return dim
    factor, letter = _split_dim(dim)
    return None if letter == '*' else factor * sizes.get(letter, -1)


def _size_errors(sizes: Mapping[str, Any], matches: list[Match]) -> list[str]:
    """Check what the sizes of a whole file say together."""
    errors = []
    num_cells = sizes.get('T', 1) - 1
    if math.isqrt(num_cells) ** 2 != num_cells:
        errors.append(
            f'the position table has {num_cells} cells, not a square grid'
        )
    groups = [m.indices['group'] for m in matches if 'group' in m.indices]
    num_groups = max(groups, default=sizes.get('G', 1) - 1) + 1
    rows = sizes.get('R', 0)
    if rows % num_groups:
        errors.append(
            f'{rows} query rows do not divide into {num_groups} groups'
        )
    blocks = [m.indices['block'] for m in matches if 'block' in m.indices]
    depth = DINOV2_DEPTHS.get(sizes.get('C', 0))
    if depth is not None and max(blocks, default=-1) + 1 != depth:
        errors.append(
            f'{max(blocks, default=-1) + 1} backbone blocks, expected {depth} '
            f'for a width of {sizes["C"]}'
        )
    return errors
