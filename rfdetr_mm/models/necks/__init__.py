"""Necks."""

from .dual_projector import DualProjector
from .multi_scale_projector import MultiScaleProjector

__all__ = ['DualProjector', 'MultiScaleProjector']
