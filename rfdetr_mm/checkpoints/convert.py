"""RF-DETR weights from upstream's layout to ours and back."""

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rfdetr_mm.adapter_weights import find_adapted_layers, merge_adapters
from rfdetr_mm.errors import InputError

from .class_rows import (
    CLASS_ROW_WEIGHTS,
    SPARE_ROW_BIAS,
    choose_our_rows,
    choose_upstream_rows,
    scatter_rows,
    take_rows,
)
from .key_map import Match, match_keys, missing_keys, shape_errors
from .keypoint_rows import (
    OUR_SCHEMA,
    UPSTREAM_ATTENTION_MASK,
    UPSTREAM_SCHEMA,
    choose_keypoint_rows,
    counts_of_mask,
    mask_of_counts,
    rows_of_counts,
    upstream_attention_mask,
)

_ENCODER = 'backbone.0.encoder.'
# peft nests the encoder of a LoRA run
_PEFT_ENCODER = _ENCODER + 'base_model.model.'

# Of an earlier design of upstream's; its own models ignore them too.
_UNUSED_PREFIX = 'keypoint_head.keypoint_proj.'


@dataclasses.dataclass
class ConversionReport:
    """What a conversion has done.

    Args:
        renamed: Source key to target key of weights stored as they were.
        stacked: Target (or source, on the way back) key to the group-wise
            keys that it holds.
        reshaped: Source key to target key of group-major rows.
        dropped: Key to the reason why it is not in the target.
        class_names: Names of the classes, in the order of our rows.
        num_groups: Query groups of the file.
        num_queries: Queries per group.
        num_parameters: Numbers in the target's weights.
        notes: Sentences on rows and sizes that were changed.
    """

    class_names: tuple[str, ...] = ()
    num_groups: int = 0
    num_queries: int = 0
    num_parameters: int = 0
    renamed: dict[str, str] = dataclasses.field(default_factory=dict)
    stacked: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    reshaped: dict[str, str] = dataclasses.field(default_factory=dict)
    dropped: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)


def upstream_to_mmdet(
    state_dict: Mapping[str, Tensor], class_names: Sequence[str] | None = None
) -> tuple[dict[str, Tensor], ConversionReport]:
    """Convert a complete upstream state dict to our keys.

    Args:
        state_dict: Upstream's weights under upstream's bare names. Not
            changed.
        class_names: The class names that the file holds, see
            :func:`~.class_rows.choose_upstream_rows`.

    Returns:
        Our weights, for ``num_classes = len(report.class_names)``, and the
        report.

    Raises:
        InputError: If the file is of a kind that is not supported, or if any
            key is unknown, missing or mis-shaped; all are listed.

    Source: rfdetr 1.11.2, models/lwdetr.py LWDETR (names and shapes).
    """
    report = ConversionReport()
    weights = _merge_upstream_adapters(state_dict, report)
    counts = _pop_upstream_schema(weights, report)
    matches = _checked_matches(weights, 'upstream')
    report.num_groups = 1 + max(m.indices.get('group', 0) for m in matches)

    converted: dict[str, Tensor] = {}
    stacks: dict[str, list[Match]] = {}
    for match in matches:
        target = match.rule.ours.format(**match.indices)
        if match.rule.layout == 'same':
            converted[target] = weights[match.key]
            report.renamed[match.key] = target
        elif match.rule.layout == 'rows':
            rows = weights[match.key]
            report.num_queries = rows.shape[0] // report.num_groups
            converted[target] = rows.reshape(
                report.num_groups, report.num_queries, *rows.shape[1:]
            )
            report.reshaped[match.key] = target
        else:
            stacks.setdefault(target, []).append(match)
    for target, members in stacks.items():
        members.sort(key=lambda match: match.indices['group'])
        report.stacked[target] = [match.key for match in members]
        converted[target] = torch.stack([weights[m.key] for m in members])

    report.num_parameters = -_keep_class_rows(
        converted, class_names, counts, report
    )
    report.num_parameters += sum(t.numel() for t in converted.values())
    return converted, report


def _pop_upstream_schema(
    weights: dict[str, Tensor], report: ConversionReport
) -> tuple[int, ...]:
    """Take the entries that are not weights out of a file, in place.

    Returns:
        Keypoints of each row of its schema; none for a detection file.

    Raises:
        InputError: If keypoints have no schema, or it has no keypoint.
    """
    mask = weights.pop(UPSTREAM_SCHEMA, None)
    counts = ()
    if mask is not None:
        reason = 'empty keypoint buffer, no weight'
        if isinstance(mask, Tensor) and mask.dim() == 2 and mask.numel():
            counts = counts_of_mask(mask)
            reason = f'keypoint schema, written to {OUR_SCHEMA}'
        report.dropped[UPSTREAM_SCHEMA] = reason
    if UPSTREAM_ATTENTION_MASK in weights:
        del weights[UPSTREAM_ATTENTION_MASK]
        report.dropped[UPSTREAM_ATTENTION_MASK] = 'follows from the schema'
    for key in [k for k in weights if k.startswith(_UNUSED_PREFIX)]:
        del weights[key]
        report.dropped[key] = 'of an earlier design, not used'
    has_keypoints = 'keypoint_embed.layers.0.weight' in weights
    if has_keypoints != any(counts):
        raise InputError(
            f'{UPSTREAM_SCHEMA} says that the classes have {list(counts)} '
            f'keypoints, and there are {"" if has_keypoints else "no "}'
            'weights for keypoints: the file is damaged. Take it from its '
            'source again.'
        )
    return counts


def _merge_upstream_adapters(
    state_dict: Mapping[str, Tensor], report: ConversionReport
) -> dict[str, Tensor]:
    """Give weights of a LoRA run the keys and values of one without."""
    weights = {
        key.replace(_PEFT_ENCODER, _ENCODER, 1)
        if key.startswith(_PEFT_ENCODER)
        else key: tensor
        for key, tensor in state_dict.items()
    }
    return _merge(weights, report)


def _merge(
    weights: Mapping[str, Tensor], report: ConversionReport
) -> dict[str, Tensor]:
    num_adapted = len(find_adapted_layers(weights))
    if num_adapted:
        report.notes.append(
            f'adapters of {num_adapted} layers merged into their weights'
        )
    return merge_adapters(weights)


def _keep_class_rows(
    converted: dict[str, Tensor],
    class_names: Sequence[str] | None,
    counts: tuple[int, ...],
    report: ConversionReport,
) -> int:
    """Keep the rows of the classes, in place, and add the schema.

    Returns:
        Numbers in the schema, which are no parameters.
    """
    num_rows = converted['bbox_head.cls_branch.bias'].shape[0]
    if counts:
        rows, names = choose_keypoint_rows(num_rows, counts, class_names)
    else:
        rows, names = choose_upstream_rows(num_rows, class_names)
    report.class_names = names
    for key, dim in CLASS_ROW_WEIGHTS:
        converted[key] = take_rows(converted[key], rows, dim)
    report.notes.append(
        f'class rows: {len(rows)} of {num_rows} kept, '
        f'{num_rows - len(rows)} spare rows left out'
    )
    if not counts:
        return 0
    counts = rows_of_counts(counts, rows)
    report.notes.append(f'keypoints of the classes: {list(counts)}')
    converted[OUR_SCHEMA] = mask_of_counts(counts)
    return converted[OUR_SCHEMA].numel()


def mmdet_to_upstream(
    state_dict: Mapping[str, Tensor], class_names: Sequence[str] | None = None
) -> tuple[dict[str, Tensor], ConversionReport]:
    """Convert our complete state dict to upstream's keys.

    Args:
        state_dict: Our weights. Not changed.
        class_names: The names of our classes, see
            :func:`~.class_rows.choose_our_rows`.

    Returns:
        Upstream's weights, with 91 class rows for COCO's classes and one
        spare row otherwise (weight 0, bias -20), and the report.

    Raises:
        InputError: If any key is unknown, missing or mis-shaped (all are
            listed), or if the class names do not fit the rows.
    """
    report = ConversionReport()
    weights = _merge(state_dict, report)
    active = weights.pop(OUR_SCHEMA, None)
    matches = _checked_matches(weights, 'ours')
    _spread_class_rows(weights, class_names, report)

    converted: dict[str, Tensor] = {}
    for match in matches:
        tensor = weights[match.key]
        template = match.rule.upstream
        if match.rule.layout == 'same':
            target = template.format(**match.indices)
            converted[target] = tensor
            report.renamed[match.key] = target
        elif match.rule.layout == 'rows':
            report.num_groups, report.num_queries = tensor.shape[:2]
            converted[template] = tensor.flatten(0, 1)
            report.reshaped[match.key] = template
        else:
            keys = [
                template.format(group=group, **match.indices)
                for group in range(tensor.shape[0])
            ]
            report.stacked[match.key] = keys
            # A view would store the whole stack once per group.
            converted.update(
                (key, part.clone()) for key, part in zip(keys, tensor)
            )
    report.num_parameters = sum(t.numel() for t in converted.values())
    converted[UPSTREAM_SCHEMA] = torch.zeros(0, 0, dtype=torch.bool)
    if active is not None:
        counts = counts_of_mask(active)
        converted[UPSTREAM_SCHEMA] = mask_of_counts(counts)
        converted[UPSTREAM_ATTENTION_MASK] = upstream_attention_mask(counts)
        report.dropped[OUR_SCHEMA] = f'written to {UPSTREAM_SCHEMA}'
    return converted, report


def _spread_class_rows(
    weights: dict[str, Tensor],
    class_names: Sequence[str] | None,
    report: ConversionReport,
) -> None:
    num_classes = weights['bbox_head.cls_branch.bias'].shape[0]
    rows, num_rows, names = choose_our_rows(num_classes, class_names)
    report.class_names = names
    for key, dim in CLASS_ROW_WEIGHTS:
        fill = SPARE_ROW_BIAS if key.endswith('.bias') else 0.0
        weights[key] = scatter_rows(weights[key], rows, num_rows, dim, fill)
    report.notes.append(
        f'class rows: {num_classes} written to {num_rows}, the other '
        f'{num_rows - num_classes} with weight 0 and bias {SPARE_ROW_BIAS:g}'
    )


def _checked_matches(
    state_dict: Mapping[str, Tensor], side: str
) -> list[Match]:
    """Match all keys, or raise one InputError that lists what is wrong."""
    no_tensors = [
        f'{key} ({type(value).__name__})'
        for key, value in state_dict.items()
        if not isinstance(value, Tensor)
    ]
    if no_tensors:
        raise_bad_keys({'not tensors': no_tensors})
    matches, unknown = match_keys(state_dict, side)
    raise_bad_keys(
        {
            'unknown': unknown,
            'missing': missing_keys(matches, side),
            'mis-shaped': shape_errors(matches, state_dict, side),
        }
    )
    return matches


def raise_bad_keys(
    problems: Mapping[str, Sequence[str]],
    what: str = 'one complete RF-DETR detector',
    way_out: str = 'Names and shapes are those of rfdetr 1.11.2; a file of '
    'another model, or a part of one, cannot be converted.',
) -> None:
    """Raise one InputError that lists all problems, if there are any.

    Args:
        problems: Kind of problem to the keys that have it.
        what: What the weights should have been.
        way_out: Last line of the message.
    """
    lines = []
    for kind, keys in problems.items():
        if keys:
            more = f', … and {len(keys) - 20} more' if len(keys) > 20 else ''
            lines.append(f'{len(keys)} {kind}: {", ".join(keys[:20])}{more}')
    if lines:
        title = f'The weights are not those of {what}.'
        raise InputError('\n'.join([title, *lines, way_out]))
