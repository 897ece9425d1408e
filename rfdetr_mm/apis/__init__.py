"""Python interfaces for using trained models."""

from .inferencer import RFDETRInferencer

__all__ = ['RFDETRInferencer']
