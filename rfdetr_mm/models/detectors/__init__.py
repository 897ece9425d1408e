"""Detectors."""

from .rfdetr import RFDETR

__all__ = ['RFDETR']
