"""Recognise whose checkpoint a file is, and convert whole checkpoints."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.data_sets import named_classes

from .convert import (
    ConversionReport,
    mmdet_to_upstream,
    raise_bad_keys,
    upstream_to_mmdet,
)
from .dinov2 import dinov2_to_backbone, is_dinov2
from .keypoint_rows import UPSTREAM_SCHEMA, counts_of_mask

_WRAPPER_PREFIXES = ('module.', 'model.', '_orig_mod.')

_UPSTREAM_STARTS = (
    'backbone.0.encoder.encoder.',
    'backbone.0.encoder.base_model.model.',
)

_EMA_FIELDS = ('ema_model', 'legacy_ema_state_dict')


@dataclasses.dataclass(frozen=True)
class UpstreamFile:
    """The parts of an upstream checkpoint that a conversion needs.

    Args:
        weights: State dict under upstream's bare names.
        layout: ``'published'`` (``model`` + ``args``), ``'lightning'``
            (``state_dict`` with prefixes) or ``'bare'`` (the weights alone).
        class_names: Class names in the file, None if it has none.
        ema_weights: Averaged weights that the file holds besides, or None.
    """

    weights: dict[str, Tensor]
    layout: str
    class_names: tuple[str, ...] | None = None
    ema_weights: dict[str, Tensor] | None = None


def read_upstream_layout(checkpoint: Mapping[str, Any]) -> UpstreamFile | None:
    """Find upstream's weights in what :func:`~.reader.read_checkpoint` gave.

    Args:
        checkpoint: Content of a file of any origin.

    Returns:
        The weights and what belongs to them, or None if the file is not an
        upstream RF-DETR one (ours, another model's, DINOv2's).

    Source: rfdetr 1.11.2, models/weights.py load_pretrain_weights;
        training/callbacks/{best_model,ema}.py (fields of its files).
    """
    args = checkpoint.get('args')
    if args is None:
        args = checkpoint.get('hyper_parameters')
    for field, layout in (('model', 'published'), ('state_dict', 'lightning')):
        weights = _bare_weights(checkpoint.get(field))
        if weights is not None:
            names = _class_names(args)
            return UpstreamFile(
                weights, layout, names, _find_ema_weights(checkpoint)
            )
    weights = _bare_weights(checkpoint)
    return None if weights is None else UpstreamFile(weights, 'bare')


def _bare_weights(state_dict: Any) -> dict[str, Any] | None:
    """Strip wrapper prefixes; None if the weights are not upstream's."""
    if not isinstance(state_dict, Mapping):
        return None
    bare = {}
    for key, value in state_dict.items():
        if not isinstance(key, str):
            return None
        for prefix in _WRAPPER_PREFIXES:
            key = key.removeprefix(prefix)
        bare[key] = value
    is_upstream = any(key.startswith(_UPSTREAM_STARTS) for key in bare) or (
        'refpoint_embed.weight' in bare
        and 'transformer.enc_output.0.weight' in bare
    )
    return bare if is_upstream else None


def _class_names(args: Any) -> tuple[str, ...] | None:
    if not isinstance(args, Mapping):
        args = getattr(args, '__dict__', {})
    names = args.get('class_names')
    if isinstance(names, str):
        names = [names]
    if not isinstance(names, Sequence):
        return None
    return tuple(name for name in names if isinstance(name, str)) or None


def _find_ema_weights(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    for field in _EMA_FIELDS:
        weights = _bare_weights(checkpoint.get(field))
        if weights is not None:
            return weights
    callbacks = checkpoint.get('callbacks')
    states = callbacks.values() if isinstance(callbacks, Mapping) else ()
    for state in states:
        if isinstance(state, Mapping):
            average = state.get('average_model_state_dict')
            if isinstance(average, Mapping):
                # Beside the weights it counts the averaged steps.
                average = {
                    k: v for k, v in average.items() if k != 'n_averaged'
                }
            weights = _bare_weights(average)
            if weights is not None:
                return weights
    return None


def to_mmdet_checkpoint(
    checkpoint: Mapping[str, Any],
    class_names: Sequence[str] | None = None,
    use_ema: bool = False,
) -> tuple[dict[str, Any], ConversionReport | None]:
    """Convert the content of any file that we know to a mmengine checkpoint.

    Args:
        checkpoint: Content of a file.
        class_names: Class names to use instead of those in the file.
        use_ema: Take the averaged weights that a training checkpoint holds
            besides the current ones.

    Returns:
        ``dict(state_dict=…, meta=dict(dataset_meta=dict(classes=…)))`` of
        tensors and plain Python values, and the report. A file that is
        neither upstream's nor DINOv2's comes back as it is, with None.
        DINOv2 weights get our backbone's keys without ``backbone.``.

    Raises:
        InputError: If the file is upstream's or DINOv2's and incomplete or
            not supported, or has no averaged weights and they are wanted.
    """
    upstream = read_upstream_layout(checkpoint)
    if upstream is None:
        backbone = (
            dinov2_to_backbone(checkpoint) if is_dinov2(checkpoint) else None
        )
        if backbone is None:
            return dict(checkpoint), None
        return dict(state_dict=backbone[0], meta={}), backbone[1]
    weights = upstream.weights
    if use_ema:
        if upstream.ema_weights is None:
            raise InputError(
                'The file holds no averaged (EMA) weights besides its own; '
                'checkpoint_best_ema.pth holds them as its own. Convert '
                'without --ema.'
            )
        weights = upstream.ema_weights
    state_dict, report = upstream_to_mmdet(
        weights, class_names or upstream.class_names
    )
    if upstream.ema_weights is not None and not use_ema:
        report.notes.append(
            'the averaged (EMA) weights in the file were left out'
        )
    meta = dict(dataset_meta=dict(classes=report.class_names))
    return dict(state_dict=state_dict, meta=meta), report


def to_upstream_checkpoint(
    checkpoint: Mapping[str, Any],
    class_names: Sequence[str] | None = None,
    **args: Any,
) -> tuple[dict[str, Any], ConversionReport]:
    """Convert one of our checkpoints to upstream's ``model`` + ``args``.

    Args:
        checkpoint: ``dict(state_dict=…, meta=…)`` as mmengine saves it, or
            our state dict alone.
        class_names: Class names; those in ``meta`` by default.
        **args: Further entries of upstream's ``args``, under its words.

    Returns:
        A checkpoint that rfdetr loads, and the report.

    Raises:
        InputError: If the weights are not ours and complete.
    """
    state_dict = checkpoint.get('state_dict', checkpoint)
    if class_names is None:
        meta = checkpoint.get('meta')
        meta = meta if isinstance(meta, Mapping) else {}
        class_names = named_classes(meta.get('dataset_meta'))
    if not isinstance(state_dict, Mapping):
        raise_bad_keys({'not weights': [type(state_dict).__name__]})
    model, report = mmdet_to_upstream(state_dict, class_names)
    num_rows = model['class_embed.bias'].shape[0]
    args = dict(
        class_names=list(report.class_names),
        num_classes=num_rows - 1,
        num_queries=report.num_queries,
        group_detr=report.num_groups,
        segmentation_head='segmentation_head.bias' in model,
        pretrain_weights=None,
        **args,
    )
    counts = counts_of_mask(model[UPSTREAM_SCHEMA])
    if counts:
        args.update(
            use_grouppose_keypoints=True, num_keypoints_per_class=list(counts)
        )
    return dict(model=model, args=args), report
