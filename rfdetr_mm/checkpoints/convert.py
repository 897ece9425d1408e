"""RF-DETR weights from upstream's layout to ours and back."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

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

_KEYPOINT_MASK = '_kp_active_mask'
_ENCODER = 'backbone.0.encoder.'
# peft nests the encoder of a LoRA run
_PEFT_ENCODER = _ENCODER + 'base_model.model.'

_KEYPOINT_PREFIXES = (
    'keypoint',
    'transformer.decoder.keypoint',
    'backbone.0.cross_attn_projector.',
)
_KEYPOINT_FILE = 'This is a file of a keypoint model (RFDETRKeypointPreview)'
_NO_KEYPOINTS = 'Keypoints are not supported.'


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
    refuse_unsupported(state_dict)
    report = ConversionReport()
    weights = _merge_upstream_adapters(state_dict, report)
    mask = weights.pop(_KEYPOINT_MASK, None)
    if mask is not None:
        report.dropped[_KEYPOINT_MASK] = 'empty keypoint buffer, no weight'
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

    _keep_class_rows(converted, class_names, report)
    report.num_parameters = sum(t.numel() for t in converted.values())
    return converted, report


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
    report: ConversionReport,
) -> None:
    num_rows = converted['bbox_head.cls_branch.bias'].shape[0]
    rows, report.class_names = choose_upstream_rows(num_rows, class_names)
    for key, dim in CLASS_ROW_WEIGHTS:
        converted[key] = take_rows(converted[key], rows, dim)
    report.notes.append(
        f'class rows: {len(rows)} of {num_rows} kept, '
        f'{num_rows - len(rows)} spare rows left out'
    )


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
    converted[_KEYPOINT_MASK] = torch.zeros(0, 0, dtype=torch.bool)
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


def refuse_unsupported(state_dict: Mapping[str, Any]) -> None:
    """Raise InputError for upstream models that have no counterpart here."""
    keys = [key for key in state_dict if key.startswith(_KEYPOINT_PREFIXES)]
    if keys:
        raise InputError(
            f'{_KEYPOINT_FILE}: {len(keys)} keys such as {keys[0]!r}. '
            f'{_NO_KEYPOINTS}'
        )
    mask = state_dict.get(_KEYPOINT_MASK)
    if isinstance(mask, Tensor) and mask.numel():
        raise InputError(
            f'{_KEYPOINT_FILE}: {_KEYPOINT_MASK!r} is not empty. '
            f'{_NO_KEYPOINTS}'
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
