"""Metrics that mmdet does not have."""

from .named_coco_metric import NamedCocoMetric

__all__ = ['NamedCocoMetric']
