"""The table that names every weight in both layouts, and what checks it.

Each rule gives our key, upstream's key and upstream's shape. Words in braces
are indices; letters in shapes are sizes that must agree within a file, so a
mis-shaped weight is found without building a model. The same table drives
both directions.

Source: the state dicts of rfdetr 1.11.2, models/lwdetr.py LWDETR.
"""

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

Dim = int | str


@dataclasses.dataclass(frozen=True)
class Rule:
    """How one kind of weight is called and stored in both layouts.

    Args:
        ours: Our key, with index words in braces.
        upstream: Upstream's key, likewise.
        shape: Upstream's shape. A number is itself, ``'d'`` a size, ``'3d'``
            a multiple of it, ``'*'`` any size.
        layout: ``'same'``; ``'stack'`` if ours stacks upstream's groups along
            a new first dimension; ``'rows'`` if ours views upstream's
            group-major rows (groups * queries, …) as (groups, queries, …).
        option: Name of a part that a model may lack as a whole.
    """

    ours: str
    upstream: str
    shape: tuple[Dim, ...]
    layout: str = 'same'
    option: str | None = None


def _affine(
    ours: str,
    upstream: str,
    shape: tuple[Dim, ...],
    layout: str = 'same',
    option: str | None = None,
) -> list[Rule]:
    """Rules of a weight of ``shape`` and a bias as long as its output."""
    return [
        Rule(f'{ours}.weight', f'{upstream}.weight', shape, layout, option),
        Rule(f'{ours}.bias', f'{upstream}.bias', shape[:1], layout, option),
    ]


def _conv_norm(
    ours: str,
    upstream: str,
    shape: tuple[Dim, ...],
    option: str | None = None,
) -> list[Rule]:
    """Rules of a convolution without bias and the norm after it."""
    return [
        Rule(
            f'{ours}.conv.weight',
            f'{upstream}.conv.weight',
            shape,
            option=option,
        ),
        *_affine(f'{ours}.norm', f'{upstream}.bn', shape[:1], 'same', option),
    ]


def _backbone_rules() -> list[Rule]:
    """Sizes: C width, p patch, T rows of the position table."""
    theirs = 'backbone.0.encoder.encoder'
    table = f'{theirs}.embeddings'
    block = f'{theirs}.encoder.layer.{{block}}'
    ours = 'backbone.blocks.{block}'
    rules = [
        Rule('backbone.cls_token', f'{table}.cls_token', (1, 1, 'C')),
        Rule('backbone.mask_token', f'{table}.mask_token', (1, 'C')),
        Rule(
            'backbone.pos_embed',
            f'{table}.position_embeddings',
            (1, 'T', 'C'),
        ),
        Rule(
            'backbone.register_tokens',
            f'{table}.register_tokens',
            (1, '*', 'C'),
            option='registers',
        ),
        *_affine(
            'backbone.patch_embed',
            f'{table}.patch_embeddings.projection',
            ('C', '*', 'p', 'p'),
        ),
        *_affine('backbone.norm', f'{theirs}.layernorm', ('C',)),
    ]
    for name in ('norm1', 'norm2'):
        rules += _affine(f'{ours}.{name}', f'{block}.{name}', ('C',))
    for name in ('query', 'key', 'value'):
        rules += _affine(
            f'{ours}.attn.{name}',
            f'{block}.attention.attention.{name}',
            ('C', 'C'),
        )
    rules += _affine(
        f'{ours}.attn.proj', f'{block}.attention.output.dense', ('C', 'C')
    )
    for name in ('layer_scale1', 'layer_scale2'):
        rules.append(
            Rule(f'{ours}.{name}.weight', f'{block}.{name}.lambda1', ('C',))
        )
    rules += _affine(f'{ours}.mlp.fc1', f'{block}.mlp.fc1', ('4C', 'C'))
    rules += _affine(f'{ours}.mlp.fc2', f'{block}.mlp.fc2', ('C', '4C'))
    return rules


def _neck_rules() -> list[Rule]:
    """Sizes: C backbone width, c half of the d output channels."""
    theirs = 'backbone.0.projector'
    resampler = f'{theirs}.stages_sampling.{{stage}}.{{map}}.0'
    fusion = f'{theirs}.stages.{{stage}}.0'
    ours = 'neck.fusions.{stage}'
    rules = [
        Rule(
            'neck.resamplers.{stage}.{map}.weight',
            f'{resampler}.weight',
            ('C', 'u', 2, 2),
            option='upsampling',
        ),
        Rule(
            'neck.resamplers.{stage}.{map}.bias',
            f'{resampler}.bias',
            ('u',),
            option='upsampling',
        ),
        *_conv_norm(
            'neck.resamplers.{stage}.{map}',
            resampler,
            ('C', 'C', 3, 3),
            option='downsampling',
        ),
        *_conv_norm(f'{ours}.reduce', f'{fusion}.cv1', ('2c', '*', 1, 1)),
        *_conv_norm(f'{ours}.expand', f'{fusion}.cv2', ('d', '*', 1, 1)),
        *_affine('neck.norms.{stage}', f'{theirs}.stages.{{stage}}.1', ('d',)),
    ]
    for index, name in enumerate(('cv1', 'cv2')):
        rules += _conv_norm(
            f'{ours}.bottlenecks.{{bottleneck}}.{index}',
            f'{fusion}.m.{{bottleneck}}.{name}',
            ('c', 'c', 3, 3),
        )
    return rules


def _query_rules() -> list[Rule]:
    """Sizes: d embedding, R groups * queries, K class rows."""
    ours = 'bbox_head.query_selector'
    rules = [
        Rule(
            'bbox_head.query_embedding',
            'query_feat.weight',
            ('R', 'd'),
            'rows',
        ),
        Rule(
            'bbox_head.query_box_deltas',
            'refpoint_embed.weight',
            ('R', 4),
            'rows',
        ),
    ]
    shapes: list[tuple[str, str, tuple[Dim, ...]]] = [
        ('proj', 'enc_output.{group}', ('d', 'd')),
        ('norm', 'enc_output_norm.{group}', ('d',)),
        ('cls_branch', 'enc_out_class_embed.{group}', ('K', 'd')),
    ]
    for index, out in enumerate(('d', 'd', 4)):
        shapes.append(
            (
                f'reg_branch.{index}',
                f'enc_out_bbox_embed.{{group}}.layers.{index}',
                (out, 'd'),
            )
        )
    for name, upstream, shape in shapes:
        rules += _affine(
            f'{ours}.{name}', f'transformer.{upstream}', shape, 'stack'
        )
    return rules


def _decoder_rules() -> list[Rule]:
    """Sizes: d embedding, F feed-forward, a attention weights per query."""
    theirs = 'transformer.decoder.layers.{layer}'
    ours = 'bbox_head.decoder.layers.{layer}'
    attn = 'self_attn.in_proj'
    cross = 'cross_attn'
    rules = [
        Rule(f'{ours}.{attn}_weight', f'{theirs}.{attn}_weight', ('3d', 'd')),
        Rule(f'{ours}.{attn}_bias', f'{theirs}.{attn}_bias', ('3d',)),
    ]
    for name, upstream, shape in (
        ('self_attn.out_proj', 'self_attn.out_proj', ('d', 'd')),
        (
            f'{cross}.sampling_offsets',
            f'{cross}.sampling_offsets',
            ('2a', 'd'),
        ),
        (
            f'{cross}.attention_weights',
            f'{cross}.attention_weights',
            ('a', 'd'),
        ),
        (f'{cross}.value_proj', f'{cross}.value_proj', ('d', 'd')),
        (f'{cross}.output_proj', f'{cross}.output_proj', ('d', 'd')),
        ('norms.0', 'norm1', ('d',)),
        ('norms.1', 'norm2', ('d',)),
        ('norms.2', 'norm3', ('d',)),
        ('ffn.layers.0.0', 'linear1', ('F', 'd')),
        ('ffn.layers.1', 'linear2', ('d', 'F')),
    ):
        rules += _affine(f'{ours}.{name}', f'{theirs}.{upstream}', shape)
    return rules


def _branch_rules() -> list[Rule]:
    decoder = 'bbox_head.decoder'
    rules = _affine(f'{decoder}.norm', 'transformer.decoder.norm', ('d',))
    for index, width in enumerate(('2d', 'd')):
        rules += _affine(
            f'{decoder}.query_pos_mlp.layers.{index}',
            f'transformer.decoder.ref_point_head.layers.{index}',
            ('d', width),
        )
    rules += _affine('bbox_head.cls_branch', 'class_embed', ('K', 'd'))
    for index, out in enumerate(('d', 'd', 4)):
        rules += _affine(
            f'bbox_head.reg_branch.layers.{index}',
            f'bbox_embed.layers.{index}',
            (out, 'd'),
        )
    return rules


def _mask_rules() -> list[Rule]:
    """Sizes: d embedding. There is one block for each decoder layer."""
    ours, theirs = 'bbox_head.mask_branch', 'segmentation_head'
    block, their_block = (
        f'{ours}.blocks.{{layer}}',
        f'{theirs}.blocks.{{layer}}',
    )
    query_ffn, their_ffn = (
        f'{ours}.query_ffn',
        f'{theirs}.query_features_block',
    )
    rules = [Rule(f'{ours}.bias', f'{theirs}.bias', (1,), option='masks')]
    shapes: list[tuple[str, str, tuple[Dim, ...]]] = [
        (f'{block}.depthwise', f'{their_block}.dwconv', ('d', 1, 3, 3)),
        (f'{block}.norm', f'{their_block}.norm', ('d',)),
        (f'{block}.pointwise', f'{their_block}.pwconv1', ('d', 'd')),
        (
            f'{ours}.feature_proj',
            f'{theirs}.spatial_features_proj',
            ('d', 'd', 1, 1),
        ),
        (f'{query_ffn}.norm', f'{their_ffn}.norm_in', ('d',)),
        (f'{query_ffn}.fc1', f'{their_ffn}.layers.0', ('4d', 'd')),
        (f'{query_ffn}.fc2', f'{their_ffn}.layers.2', ('d', '4d')),
        (f'{ours}.query_proj', f'{theirs}.query_features_proj', ('d', 'd')),
    ]
    for name, upstream, shape in shapes:
        rules += _affine(name, upstream, shape, option='masks')
    return rules


RULES: tuple[Rule, ...] = (
    *_backbone_rules(),
    *_neck_rules(),
    *_query_rules(),
    *_decoder_rules(),
    *_branch_rules(),
    *_mask_rules(),
)

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
