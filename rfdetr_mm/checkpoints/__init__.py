"""Checkpoint files: find, read safely, rename, convert in both directions.

Imports PyTorch and the standard library only.
"""

from rfdetr_mm.adapter_weights import find_adapted_layers, merge_adapters
from rfdetr_mm_light.files import atomic_file, file_md5

from .class_rows import (
    CLASS_ROW_WEIGHTS,
    COCO_CATEGORY_IDS,
    COCO_CLASSES,
    resize_class_rows,
    take_class_rows,
)
from .convert import ConversionReport, mmdet_to_upstream, upstream_to_mmdet
from .decoder_depth import add_decoder_layers, decoder_depth
from .dinov2 import dinov2_to_backbone, is_dinov2
from .finite import all_finite, list_non_finite, name_some
from .keypoint_rows import (
    OUR_SCHEMA,
    counts_of_mask,
    reset_precision,
    resize_keypoint_rows,
    take_keypoint_rows,
)
from .layouts import (
    UpstreamFile,
    read_upstream_layout,
    to_mmdet_checkpoint,
    to_upstream_checkpoint,
)
from .published import (
    PUBLISHED_FILES,
    SHIPPED_FILES,
    PublishedFile,
    cache_dir,
    check_licence,
    hint_for_missing,
    published_address,
    resolve_weights,
)
from .reader import read_checkpoint, read_safetensors
from .transfer import download
from .transformers_files import (
    CONFIG_FIELD,
    to_transformers,
    transformers_file,
)
from .writer import (
    check_target,
    summarise,
    weights_md5,
    write_checkpoint,
    write_safetensors,
)

__all__ = [
    'CLASS_ROW_WEIGHTS',
    'COCO_CATEGORY_IDS',
    'COCO_CLASSES',
    'CONFIG_FIELD',
    'OUR_SCHEMA',
    'PUBLISHED_FILES',
    'SHIPPED_FILES',
    'ConversionReport',
    'PublishedFile',
    'UpstreamFile',
    'add_decoder_layers',
    'all_finite',
    'atomic_file',
    'cache_dir',
    'check_licence',
    'check_target',
    'counts_of_mask',
    'decoder_depth',
    'dinov2_to_backbone',
    'download',
    'file_md5',
    'find_adapted_layers',
    'hint_for_missing',
    'is_dinov2',
    'list_non_finite',
    'merge_adapters',
    'mmdet_to_upstream',
    'name_some',
    'published_address',
    'read_checkpoint',
    'read_safetensors',
    'read_upstream_layout',
    'reset_precision',
    'resize_class_rows',
    'resize_keypoint_rows',
    'resolve_weights',
    'summarise',
    'take_class_rows',
    'take_keypoint_rows',
    'to_mmdet_checkpoint',
    'to_transformers',
    'to_upstream_checkpoint',
    'transformers_file',
    'upstream_to_mmdet',
    'weights_md5',
    'write_checkpoint',
    'write_safetensors',
]
