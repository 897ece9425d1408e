"""The command ``rfdetr-mm``."""

from .main import main

__all__ = ['main']
