"""Losses that mmdet does not have."""

from .ia_bce_loss import IABCELoss
from .keypoint_losses import (
    KeypointFindableLoss,
    KeypointL1Loss,
    KeypointNLLLoss,
    KeypointVisibleLoss,
)

__all__ = [
    'IABCELoss',
    'KeypointFindableLoss',
    'KeypointL1Loss',
    'KeypointNLLLoss',
    'KeypointVisibleLoss',
]
