"""The version of the package."""

from rfdetr_mm_light.version import __version__

__all__ = ['__version__']
