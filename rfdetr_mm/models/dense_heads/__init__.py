"""Dense heads."""

from .rfdetr_head import RFDETRHead
from .rfdetr_ins_head import RFDETRInsHead
from .rfdetr_pose_head import RFDETRPoseHead

__all__ = ['RFDETRHead', 'RFDETRInsHead', 'RFDETRPoseHead']
