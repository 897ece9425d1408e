"""What an exported file says about its model, whatever the backend."""

from rfdetr_runtime.metadata import read_metadata

__all__ = ['read_metadata']
