"""The command ``rfdetr-mm``: its parser, and what needs no torch."""

from .main import main

__all__ = ['main']
