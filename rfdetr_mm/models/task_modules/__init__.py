"""Matching of queries with ground truths."""

from .group_hungarian_assigner import GroupHungarianAssigner
from .match_costs import FocalLogitCost

__all__ = ['FocalLogitCost', 'GroupHungarianAssigner']
