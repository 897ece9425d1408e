"""Whole checkpoints for a config: from rfdetr's files, and back to them."""

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor

from rfdetr_mm.checkpoints import (
    CONFIG_FIELD,
    ConversionReport,
    merge_adapters,
    read_upstream_layout,
    to_mmdet_checkpoint,
    to_upstream_checkpoint,
)
from rfdetr_mm.errors import InputError
from rfdetr_mm.models.detectors.other_size import ENCODER
from rfdetr_mm.sizes.config_facts import image_size
from rfdetr_mm.sizes.data_sets import class_names_of_split
from rfdetr_mm.sizes.identify import sizes_of_numbers, task_of_head
from rfdetr_mm.sizes.shipped import MODEL_NAME

from .model_config import read_saved_model
from .transformers_config import check_transformers_config

PYRAMID_LEVELS = {2.0: 'P3', 1.0: 'P4', 0.5: 'P5'}
_OF_WEIGHTS = ('num_classes', 'num_queries', 'group_detr')


def fit_to_config(
    weights: Mapping[str, Tensor], config: Config
) -> tuple[dict[str, Tensor], list[str]]:
    """Fit weights to a model as the model itself does when it loads.

    Adapters are merged, the position table is resized, groups and queries
    are cut to the first ones; everything else must agree.

    Args:
        weights: Our weights, complete. Not changed.
        config: The config whose model they are for.

    Returns:
        Weights of exactly the model's keys and shapes, and one sentence for
        each key that was changed.

    Raises:
        InputError: If anything else differs, or queries are missing.
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
            raise InputError(
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


def from_rfdetr(
    content: Mapping[str, Any], config: Config, use_ema: bool = False
) -> tuple[dict[str, Any], ConversionReport]:
    """Convert the content of an rfdetr file for a config's model.

    Args:
        content: What :func:`~rfdetr_mm.checkpoints.read_checkpoint` gave.
        config: The config of the model.
        use_ema: Take the averaged weights that a training checkpoint holds.

    Returns:
        ``dict(state_dict=…, meta=dict(dataset_meta=dict(classes=…)))``, and
        the report.

    Raises:
        InputError: If it is not an rfdetr file, or does not fit the model.
    """
    upstream = read_upstream_layout(content)
    if CONFIG_FIELD in content:
        check_transformers_config(content[CONFIG_FIELD], config)
    if upstream is None:
        raise InputError(
            'The checkpoint is not an rfdetr file: it has no weights such as '
            f"'backbone.0.encoder.…'. Its first keys are {list(content)[:5]}."
        )
    checkpoint, report = to_mmdet_checkpoint(content, use_ema=use_ema)
    weights, notes = fit_to_config(checkpoint['state_dict'], config)
    names = class_names_of_split(config, 'train')
    if upstream.class_names is None and len(names) == len(report.class_names):
        report.class_names = names
    report = dataclasses.replace(
        report,
        notes=report.notes + notes,
        num_parameters=sum(tensor.numel() for tensor in weights.values()),
    )
    meta = dict(
        dataset_meta=dict(classes=report.class_names),
        converted_from=dict(layout=upstream.layout),
    )
    return dict(state_dict=weights, meta=meta), report


def to_rfdetr(
    content: Mapping[str, Any], config: Config
) -> tuple[dict[str, Any], ConversionReport]:
    """Convert a checkpoint of this package to one that rfdetr loads.

    Args:
        content: ``dict(state_dict=…, meta=…)``, or the weights alone.
        config: The config of its model.

    Returns:
        Upstream's ``model``, ``args`` and ``model_config``, with
        ``model_name`` if the config names upstream's class or there is one of
        this architecture, and the report.

    Raises:
        InputError: If it is an rfdetr file already, or does not fit the
            model.
    """
    if read_upstream_layout(content) is not None:
        raise InputError('The checkpoint is an rfdetr file already.')
    weights = content.get('state_dict', content)
    weights, notes = fit_to_config(weights, config)
    architecture = upstream_architecture(config)
    checkpoint, report = to_upstream_checkpoint(
        dict(state_dict=weights, meta=content.get('meta', {})), **architecture
    )
    args = checkpoint['args']
    checkpoint['model_config'] = {
        **architecture,
        **{name: args[name] for name in _OF_WEIGHTS},
    }
    name = config.get(MODEL_NAME) or model_name(config, architecture)
    if name is not None:
        checkpoint['model_name'] = name
    return checkpoint, dataclasses.replace(report, notes=report.notes + notes)


def upstream_architecture(config: Config) -> dict[str, Any]:
    """Describe the config's model in upstream's words.

    Args:
        config: The config of the model.

    Returns:
        Entries of upstream's ``model_config``, without those that a
        conversion reads from the weights.
    """
    backbone = config.model.backbone
    numbers = read_saved_model(config.model)
    if numbers.get('num_channels') == 3:
        numbers.pop('num_channels')
    if config.model.neck.type == 'DualProjector':
        numbers.update(dual_projector=True, dual_projector_kp_only=True)
    registers = 'registers_' if backbone.get('num_registers', 0) else ''
    return dict(
        {k: v for k, v in numbers.items() if k not in _OF_WEIGHTS},
        encoder=f'dinov2_{registers}windowed_{backbone.arch}',
        resolution=input_side(config),
        out_feature_indexes=[i + 1 for i in backbone.out_indices],
        projector_scale=[
            PYRAMID_LEVELS[s] for s in config.model.neck.scale_factors
        ],
    )


def input_side(config: Config) -> int:
    """Side in pixels of the square test images, else of the table."""
    height, width = image_size(config)
    if height == width:
        return height
    return config.model.backbone.img_size


def model_name(config: Config, architecture: Mapping[str, Any]) -> str | None:
    """Name upstream's class of an architecture.

    Args:
        config: The config of the model.
        architecture: What :func:`upstream_architecture` says of it.

    Returns:
        The name; the smallest size if the side of the position table leaves
        more than one, None if upstream has no class of this architecture.
    """
    sizes = sizes_of_numbers(
        task_of_head(config.model.bbox_head.type),
        # Registers make no other class.
        {**architecture, 'encoder': ENCODER + config.model.backbone.arch},
        ('encoder', 'patch_size', 'num_windows', 'dec_layers'),
    )
    upstreams = [size for size in sizes if not size.is_shipped]
    smallest = min(upstreams, key=lambda size: size.image_px, default=None)
    return smallest and smallest.class_name
