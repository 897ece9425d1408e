"""Metrics that mmdet does not have."""

from .named_coco_metric import NamedCocoMetric
from .named_oks_metric import NamedOksMetric
from .vernier_coco_metric import VernierCocoMetric

__all__ = ['NamedCocoMetric', 'NamedOksMetric', 'VernierCocoMetric']
