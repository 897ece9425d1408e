"""Losses that mmdet does not have."""

from .ia_bce_loss import IABCELoss

__all__ = ['IABCELoss']
