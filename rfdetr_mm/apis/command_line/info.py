"""Run ``rfdetr-mm info FILE``: say what a checkpoint is.

What needs no weights is in ``rfdetr_mm_light/command_line/info.py``.
"""

from typing import Any

from rfdetr_mm.apis.saved_model import identify
from rfdetr_mm.apis.weights import locate_weights
from rfdetr_mm.checkpoints import (
    read_checkpoint,
    read_upstream_layout,
    to_mmdet_checkpoint,
)
from rfdetr_mm.errors import InputError, naming
from rfdetr_mm.models.detectors.other_size import numbers_of_weights
from rfdetr_mm.sizes.data_sets import named_classes


def about_checkpoint(name: str) -> dict[str, Any]:
    """Say what a checkpoint is.

    If its model has none of the known sizes, what the shapes of its weights
    say is returned.

    Raises:
        InputError: If it cannot be read or is not a model of ours.
    """
    path = locate_weights(name, accept_platform_model_license=True)
    content = read_checkpoint(path)
    is_upstream = read_upstream_layout(content) is not None
    with naming(path):
        ours, _ = to_mmdet_checkpoint(content)
    weights = ours.get('state_dict', ours)
    try:
        saved = identify(path, content)
        variant, fields = saved.variant, saved.fields
    except InputError:
        if 'bbox_head.query_embedding' not in weights:
            raise
        variant, fields = None, {}
        if 'backbone.pos_embed' in weights:  # not so with other backbones
            fields = numbers_of_weights(weights)
    meta = ours.get('meta') or {}
    return dict(
        file=path,
        written_by='rfdetr' if is_upstream else 'rfdetr_mm',
        size=variant and variant.short_name,
        name=variant and variant.class_name,
        numbers=sum(t.numel() for t in weights.values()),
        epoch=(content.get('meta') or {}).get('epoch'),
        classes=list(named_classes(meta.get('dataset_meta'))),
        saved=fields,
    )
