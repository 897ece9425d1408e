"""RF-DETR's modules, in mmdet's registries.

Data flow, one way (L decoder layers, G groups: 13 in training and 1 in
evaluation, Q queries per group, K classes, P keypoints of all classes)::

    images             (bs, 3, h_px, w_px), sides % (patch * windows) == 0
     -> WindowedDINOv2       4 x (bs, C, h_px / patch, w_px / patch)
     -> MultiScaleProjector  1 or 2 x (bs, embed_dims, grid_h, grid_w)
     -> QuerySelector        boxes and logits of the G * Q best positions
     -> RFDETRDecoder        (L, bs, G * Q, embed_dims) from learned queries
     -> branches             logits (L, bs, G * Q, K), boxes (L, bs, G * Q, 4)
     -> MaskBranch           RFDETRInsHead: masks (L, bs, G * Q, h / 4, w / 4)
     -> KeypointDecoder      RFDETRPoseHead: keypoints (L, bs, G * Q, P, 8)
     -> loss                 one assignment for each layer and group
     -> predict              last layer, best max_per_img, xyxy in pixels

Patches, windows, decoder layers and queries of a built model can be changed
while it runs: :class:`Subnet`, ``RFDETR.set_subnet``.
"""

from .backbones import WindowedDINOv2
from .data_preprocessors import (
    BatchKorniaAugment,
    BatchMultiScaleResize,
    BatchSubnetResize,
    StackingDetDataPreprocessor,
)
from .dense_heads import RFDETRHead, RFDETRInsHead, RFDETRPoseHead
from .detectors import RFDETR
from .losses import (
    IABCELoss,
    KeypointFindableLoss,
    KeypointL1Loss,
    KeypointNLLLoss,
    KeypointVisibleLoss,
)
from .necks import DualProjector, MultiScaleProjector
from .subnet import SearchSpace, Subnet
from .task_modules import (
    FocalLogitCost,
    GroupHungarianAssigner,
    KeypointFindableCost,
    KeypointL1Cost,
    KeypointNLLCost,
    KeypointVisibleCost,
)

__all__ = [
    'RFDETR',
    'BatchKorniaAugment',
    'BatchMultiScaleResize',
    'BatchSubnetResize',
    'DualProjector',
    'FocalLogitCost',
    'GroupHungarianAssigner',
    'IABCELoss',
    'KeypointFindableCost',
    'KeypointFindableLoss',
    'KeypointL1Cost',
    'KeypointL1Loss',
    'KeypointNLLCost',
    'KeypointNLLLoss',
    'KeypointVisibleCost',
    'KeypointVisibleLoss',
    'MultiScaleProjector',
    'RFDETRHead',
    'RFDETRInsHead',
    'RFDETRPoseHead',
    'SearchSpace',
    'StackingDetDataPreprocessor',
    'Subnet',
    'WindowedDINOv2',
]
