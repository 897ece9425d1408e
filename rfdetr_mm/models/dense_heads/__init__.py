"""Dense heads."""

from .rfdetr_head import RFDETRHead
from .rfdetr_ins_head import RFDETRInsHead

__all__ = ['RFDETRHead', 'RFDETRInsHead']
