"""Hooks for mmengine's Runner."""

from .class_rows_hook import ClassRowsHook

__all__ = ['ClassRowsHook']
