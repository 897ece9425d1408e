"""Dense heads."""

from .rfdetr_head import RFDETRHead

__all__ = ['RFDETRHead']
