"""Run ``rfdetr-mm info FILE``: say what a checkpoint is.

What needs no weights is in ``rfdetr_mm_light/command_line/info.py``.
"""

import contextlib
from collections.abc import Mapping
from typing import Any

from rfdetr_mm.apis.saved_model import identify, weights_of
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
    weights = weights_of(path, ours)
    try:
        saved = identify(path, content)
        variant, fields = saved.variant, saved.fields
    except InputError:
        if 'bbox_head.query_embedding' not in weights:
            raise
        variant, fields = None, {}
        with contextlib.suppress(KeyError):  # of another backbone
            fields = numbers_of_weights(weights)
    metas = [
        meta if isinstance(meta, Mapping) else {}
        for meta in (ours.get('meta'), content.get('meta'))
    ]
    return dict(
        file=path,
        written_by='rfdetr' if is_upstream else 'rfdetr_mm',
        size=variant and variant.short_name,
        name=variant and variant.class_name,
        numbers=sum(t.numel() for t in weights.values()),
        epoch=metas[1].get('epoch'),
        classes=list(named_classes(metas[0].get('dataset_meta'))),
        saved=fields,
    )
