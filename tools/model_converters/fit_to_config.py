"""Fit our weights to a config's model; what both converters share."""

import warnings
from collections.abc import Mapping

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor

from rfdetr_mm.checkpoints import merge_adapters


def fit_to_config(
    weights: Mapping[str, Tensor], config: Config
) -> tuple[dict[str, Tensor], list[str]]:
    """Fit weights to a model as the model itself does when it loads.

    Adapters are merged, the position table is resized, groups and queries
    are cut to the first ones; everything else has to agree.

    Args:
        weights: Our weights, complete. Not changed.
        config: The config whose model they are for.

    Returns:
        Weights of exactly the model's keys and shapes, and one sentence for
        each key that was changed.

    Raises:
        ValueError: If anything else differs, or queries are missing.
    """
    init_default_scope('mmdet')
    weights = merge_adapters(weights)
    plain = dict(config.model)
    plain.pop('adapters', None)
    with torch.device('meta'):  # shapes alone: no memory, no initialisation
        model = MODELS.build(plain)
    with warnings.catch_warnings():
        # A converter does not write rows that nobody has trained.
        warnings.filterwarnings('error', '.*queries in each group')
        try:
            model.load_state_dict(dict(weights), strict=True, assign=True)
        except UserWarning as warning:
            raise ValueError(
                f'{warning}. A converter adds no queries: set '
                "num_queries to the file's, or fewer."
            ) from warning
    # Copies, so that a cut tensor does not drag its whole storage along.
    fitted = {k: v.detach().clone() for k, v in model.state_dict().items()}
    notes = [
        f'{key}: {list(weights[key].shape)} became {list(value.shape)}'
        for key, value in fitted.items()
        if weights[key].shape != value.shape
    ]
    return fitted, notes
