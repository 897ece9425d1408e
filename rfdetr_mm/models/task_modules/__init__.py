"""Matching of queries with ground truths."""

from .group_hungarian_assigner import GroupHungarianAssigner
from .keypoint_costs import (
    KeypointFindableCost,
    KeypointL1Cost,
    KeypointNLLCost,
    KeypointVisibleCost,
)
from .match_costs import FocalLogitCost

__all__ = [
    'FocalLogitCost',
    'GroupHungarianAssigner',
    'KeypointFindableCost',
    'KeypointL1Cost',
    'KeypointNLLCost',
    'KeypointVisibleCost',
]
