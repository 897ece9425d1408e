"""A sub-network as a detector of its own: ordinary config and weights."""

import copy
import re
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from torch import Tensor

from rfdetr_mm.models import Subnet
from rfdetr_mm.models.layers.patch_kernel import resize_patch_kernel
from rfdetr_mm.models.layers.position_table import resize_position_table
from rfdetr_mm.models.subnet import check_subnet
from rfdetr_mm.sizes.config_facts import set_image_size

_LAYER_KEY = re.compile(
    r'bbox_head\.(?:decoder\.layers|mask_branch\.blocks)\.(\d+)\..*'
)
_QUERY_KEYS = ('bbox_head.query_embedding', 'bbox_head.query_box_deltas')
_SEARCH_ENTRIES = ('search_space', 'find_unused_parameters', 'load_from')


def extract_config(supernet: Config, subnet: Subnet) -> Config:
    """Write the config of a sub-network.

    Args:
        supernet: Config of the supernet; not changed.
        subnet: What to extract.

    Returns:
        The config without any trace of the search: its model is built as the
        sub-network, its pipelines resize to that size.

    Raises:
        InputError: If the sub-network is impossible or not in the supernet.
    """
    cfg = copy.deepcopy(supernet)
    model = cfg.model
    backbone, head = model.backbone, model.bbox_head
    check_subnet(subnet, head.decoder.num_layers, head.num_queries)
    old_patch, table_side = backbone.patch_size, table_side_of(backbone)
    if 'mask_upsample_ratio' in head:
        head.mask_upsample_ratio *= subnet.patch_size / old_patch
    grid_h, grid_w = (s // subnet.patch_size for s in subnet.resolution)
    if grid_h == grid_w:
        table_side = grid_h
    backbone.update(
        patch_size=subnet.patch_size,
        num_windows=subnet.num_windows,
        # Of the position table, which is square also where images are not.
        img_size=table_side * subnet.patch_size,
    )
    backbone.pop('init_cfg', None)
    head.num_queries = subnet.num_queries
    head.decoder.num_layers = subnet.num_decoder_layers
    model.data_preprocessor.update(
        pad_size_divisor=subnet.block, batch_augments=None
    )
    model.pop('subnet', None)
    for name in _SEARCH_ENTRIES:
        cfg.pop(name, None)
    if subnet.num_decoder_layers == 0:
        cfg.find_unused_parameters = True  # the decoder's, in a training
    cfg.load_from = None
    cfg.resume = False
    cfg.custom_hooks = [
        hook
        for hook in cfg.get('custom_hooks') or ()
        if hook['type'] != 'SubnetHook'
    ]
    set_image_size(cfg, subnet.resolution)
    return cfg


def table_side_of(backbone: Mapping[str, Any]) -> int:
    """Side of the position table of a backbone's config, in cells."""
    return backbone['img_size'] // backbone['patch_size']


def extract_weights(
    weights: Mapping[str, Tensor], subnet: Subnet
) -> dict[str, Tensor]:
    """Take a sub-network's weights out of a supernet's.

    Args:
        weights: The supernet's state dict, without a prefix.
        subnet: What to extract.

    Returns:
        The state dict of the model of :func:`extract_config`.
    """
    grid_h, grid_w = (s // subnet.patch_size for s in subnet.resolution)
    extracted = {}
    for key, value in weights.items():
        match = _LAYER_KEY.fullmatch(key)
        if match and int(match[1]) >= subnet.num_decoder_layers:
            continue
        if key == 'backbone.patch_embed.weight':
            value = resize_patch_kernel(value, subnet.patch_size)
        elif key == 'backbone.pos_embed' and grid_h == grid_w:
            value = resize_position_table(value, grid_h, grid_w)
        elif key in _QUERY_KEYS:
            value = value[:, : subnet.num_queries]
        extracted[key] = value.detach().clone()
    return extracted
