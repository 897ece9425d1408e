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
    ConversionReport,
    merge_adapters,
    read_upstream_layout,
    to_mmdet_checkpoint,
    to_upstream_checkpoint,
)
from rfdetr_mm.sizes.config_facts import image_size
from rfdetr_mm.sizes.data_sets import class_names_of_split

from .variants import MODEL_NAME

PYRAMID_LEVELS = {2.0: 'P3', 1.0: 'P4', 0.5: 'P5'}

# Patch side, windows per side, decoder layers, DINOv2 size.
MODEL_NAMES = {
    (16, 2, 2, 'small'): 'RFDETRNano',
    (16, 2, 3, 'small'): 'RFDETRSmall',
    (16, 2, 4, 'small'): 'RFDETRMedium',
    (14, 4, 3, 'small'): 'RFDETRBase',
    (14, 4, 3, 'base'): 'RFDETRLargeDeprecated',
    (20, 1, 5, 'base'): 'RFDETRXLarge',
    (20, 2, 5, 'base'): 'RFDETR2XLarge',
}
SEG_MODEL_NAMES = {
    (12, 1, 4, 'small'): 'RFDETRSegNano',
    (12, 2, 4, 'small'): 'RFDETRSegSmall',
    (12, 2, 5, 'small'): 'RFDETRSegMedium',
    (12, 2, 6, 'small'): 'RFDETRSegXLarge',
}
POSE_MODEL_NAMES = {(12, 2, 4, 'small'): 'RFDETRKeypointPreview'}
# These differ from those in the side of the position table alone.
LARGER_NAMES = {
    ('RFDETRMedium', 44): 'RFDETRLarge',
    ('RFDETRSegSmall', 36): 'RFDETRSegPreview',
    ('RFDETRSegMedium', 42): 'RFDETRSegLarge',
    ('RFDETRSegXLarge', 64): 'RFDETRSeg2XLarge',
}


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
        ValueError: If it is no rfdetr file, or does not fit the model.
    """
    upstream = read_upstream_layout(content)
    if upstream is None:
        raise ValueError(
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
        ValueError: If it is an rfdetr file already, or does not fit the
            model.
    """
    if read_upstream_layout(content) is not None:
        raise ValueError('The checkpoint is an rfdetr file already.')
    weights = content.get('state_dict', content)
    weights, notes = fit_to_config(weights, config)
    architecture = upstream_architecture(config)
    checkpoint, report = to_upstream_checkpoint(
        dict(state_dict=weights, meta=content.get('meta', {})), **architecture
    )
    args = checkpoint['args']
    settings = ('num_classes', 'num_queries', 'group_detr')
    checkpoint['model_config'] = {
        **architecture,
        **{name: args[name] for name in settings},
    }
    name = config.get(MODEL_NAME) or model_name(config, architecture)
    if name is not None:
        checkpoint['model_name'] = name
    return checkpoint, dataclasses.replace(report, notes=report.notes + notes)


def upstream_architecture(config: Config) -> dict[str, Any]:
    """Describe the config's model in upstream's words."""
    backbone, head = config.model.backbone, config.model.bbox_head
    decoder = head.decoder
    registers = 'registers_' if backbone.get('num_registers', 0) else ''
    return dict(
        encoder=f'dinov2_{registers}windowed_{backbone.arch}',
        patch_size=backbone.patch_size,
        num_windows=backbone.num_windows,
        positional_encoding_size=backbone.img_size // backbone.patch_size,
        resolution=input_side(config),
        out_feature_indexes=[i + 1 for i in backbone.out_indices],
        projector_scale=[
            PYRAMID_LEVELS[s] for s in config.model.neck.scale_factors
        ],
        hidden_dim=head.embed_dims,
        dec_layers=decoder.num_layers,
        sa_nheads=decoder.self_attn_num_heads,
        ca_nheads=decoder.cross_attn_num_heads,
        dec_n_points=decoder.num_points,
        num_select=config.model.test_cfg.max_per_img,
        **_optional_architecture(config),
    )


def _optional_architecture(config: Config) -> dict[str, Any]:
    """What a config may leave out."""
    backbone, head = config.model.backbone, config.model.bbox_head
    found = {}
    if backbone.get('in_channels', 3) != 3:
        found['num_channels'] = backbone.in_channels
    if head.type == 'RFDETRInsHead':
        upsample = head.get('mask_upsample_ratio', 4.0)
        found['mask_downsample_ratio'] = round(backbone.patch_size / upsample)
    if head.type == 'RFDETRPoseHead':
        has_two = config.model.neck.type == 'DualProjector'
        found.update(
            use_grouppose_keypoints=True,
            num_keypoints_per_class=list(head.num_keypoints),
            dual_projector=has_two,
            dual_projector_kp_only=has_two,
        )
    return found


def input_side(config: Config) -> int:
    """Side in pixels of the square test images, else of the table."""
    height, width = image_size(config)
    if height == width:
        return height
    return config.model.backbone.img_size


def model_name(config: Config, architecture: Mapping[str, Any]) -> str | None:
    """Name of upstream's class of this architecture, if it has one."""
    names = {
        'RFDETRInsHead': SEG_MODEL_NAMES,
        'RFDETRPoseHead': POSE_MODEL_NAMES,
    }.get(config.model.bbox_head.type, MODEL_NAMES)
    name = names.get(
        (
            architecture['patch_size'],
            architecture['num_windows'],
            architecture['dec_layers'],
            config.model.backbone.arch,
        )
    )
    side = architecture['positional_encoding_size']
    return LARGER_NAMES.get((name, side), name)
