"""Data: the transforms that mmdet and mmcv do not have."""

from .coco_file import (
    CocoFile,
    class_names,
    label_of_category,
    read_coco_file,
)
from .named_coco import NamedCocoDataset
from .own_data import resolve_own_data
from .samplers import SmallDataSampler
from .transforms import LoadCheckedImage, RandomSquareCrop, RFDETRResize
from .web_dataset_coco import WebDatasetCoco
from .yolo import YoloDataset

__all__ = [
    'CocoFile',
    'LoadCheckedImage',
    'NamedCocoDataset',
    'RFDETRResize',
    'RandomSquareCrop',
    'SmallDataSampler',
    'WebDatasetCoco',
    'YoloDataset',
    'class_names',
    'label_of_category',
    'read_coco_file',
    'resolve_own_data',
]
