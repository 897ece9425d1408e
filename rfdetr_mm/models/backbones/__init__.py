"""Backbones."""

from .windowed_dinov2 import WindowedDINOv2

__all__ = ['WindowedDINOv2']
