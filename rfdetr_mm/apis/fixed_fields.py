"""Fields of rfdetr's models that a size fixes: its own value is taken."""

from collections.abc import Mapping
from typing import Any

from rfdetr_mm.errors import InputError

# Name: the entry of a config that a model with another value needs.
FIXED = {
    'out_feature_indexes': 'model.backbone.out_indices, which counts from 0, '
    'with model.backbone.global_attn_indices and model.neck.in_channels',
    'projector_scale': 'model.neck.scale_factors with '
    'model.bbox_head.decoder.num_levels',
    'two_stage': 'queries always start from proposals of the encoder',
    'bbox_reparam': 'boxes are always predicted relative to a reference',
    'lite_refpoint_refine': 'references are always those of the proposals',
    'layer_norm': 'the projector always normalises its maps',
    'ia_bce_loss': 'model.bbox_head.loss_cls, such as FocalLoss',
    'keypoint_cross_attn': 'keypoints always look at the image',
    'inter_instance_kp_attn': 'keypoints of other objects are not looked at',
    'grouppose_keypoint_dim_downscale': 'keypoints are as wide as objects',
    'dual_projector': 'model.neck.type, DualProjector or MultiScaleProjector',
    'dual_projector_kp_only': 'the second maps are those of keypoints alone',
    'num_decoder_registers': 'no published model has registers there',
    'license': 'the licence of the published weights cannot be chosen',
}
_LEVELS = {2.0: 'P3', 1.0: 'P4', 0.5: 'P5'}


def fixed_fields(model: Mapping[str, Any], licence: str) -> dict[str, Any]:
    """Read the values that a size has.

    Args:
        model: ``model`` of the size's config.
        licence: The licence of its published weights.

    Returns:
        Value of each name of ``FIXED``.

    Source: rfdetr 1.11.2, config.py, ModelConfig (names and defaults).
    """
    has_keypoints = 'num_keypoints' in model['bbox_head']
    blocks = model['backbone']['out_indices']
    return dict(
        out_feature_indexes=[int(block) + 1 for block in blocks],
        projector_scale=[
            _LEVELS[float(factor)] for factor in model['neck']['scale_factors']
        ],
        two_stage=True,
        bbox_reparam=True,
        lite_refpoint_refine=True,
        layer_norm=True,
        ia_bce_loss=True,
        keypoint_cross_attn=True,
        inter_instance_kp_attn=False,
        grouppose_keypoint_dim_downscale=1,
        dual_projector=has_keypoints,
        dual_projector_kp_only=has_keypoints,
        num_decoder_registers=0,
        license=licence,
    )


def check_fixed(name: str, value: Any, own: Any, class_name: str) -> Any:
    """Take the value that a size has, and refuse others.

    Args:
        name: The field.
        value: What was given.
        own: What the size has.
        class_name: The class of the size, for the message.

    Returns:
        ``own``.

    Raises:
        InputError: For another value, with the way out.
    """
    given = list(value) if isinstance(value, tuple) else value
    if given != own or isinstance(given, bool) != isinstance(own, bool):
        raise InputError(
            f'{class_name} has {name}={own!r}, got {value!r}, which a size '
            f'cannot change: {FIXED[name]}. Leave it out, or write a config '
            'of your own (docs/coming_from_rfdetr.md)'
        )
    return own
