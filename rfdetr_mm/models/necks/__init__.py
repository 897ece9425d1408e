"""Necks."""

from .multi_scale_projector import MultiScaleProjector

__all__ = ['MultiScaleProjector']
