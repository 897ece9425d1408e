"""Metrics that mmdet does not have."""

from .named_coco_metric import NamedCocoMetric
from .vernier_coco_metric import VernierCocoMetric

__all__ = ['NamedCocoMetric', 'VernierCocoMetric']
