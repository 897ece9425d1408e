"""The numbers of every size, and what may be changed about them."""

import numpy as np
import pytest

from rfdetr_mm import apis
from rfdetr_mm.apis.model_config import (
    fill_in_model,
    make_model_config,
    positive_int,
)
from rfdetr_mm.checkpoints import PUBLISHED_FILES, SHIPPED_FILES
from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.shipped import read_config_of
from rfdetr_mm_light.sizes import SIZES

# Of upstream: side in px, table, patch, windows, layers, queries, width.
NUMBERS = {
    'RFDETRNano': (384, 24, 16, 2, 2, 300, 256),
    'RFDETRSmall': (512, 32, 16, 2, 3, 300, 256),
    'RFDETRMedium': (576, 36, 16, 2, 4, 300, 256),
    'RFDETRLarge': (704, 44, 16, 2, 4, 300, 256),
    'RFDETRBase': (560, 37, 14, 4, 3, 300, 256),
    'RFDETRLargeDeprecated': (560, 37, 14, 4, 3, 300, 384),
    'RFDETRXLarge': (700, 35, 20, 1, 5, 300, 512),
    'RFDETR2XLarge': (880, 44, 20, 2, 5, 300, 512),
    'RFDETRSegPreview': (432, 36, 12, 2, 4, 200, 256),
    'RFDETRSegNano': (312, 26, 12, 1, 4, 100, 256),
    'RFDETRSegSmall': (384, 32, 12, 2, 4, 100, 256),
    'RFDETRSegMedium': (432, 36, 12, 2, 5, 200, 256),
    'RFDETRSegLarge': (504, 42, 12, 2, 5, 200, 256),
    'RFDETRSegXLarge': (624, 52, 12, 2, 6, 300, 256),
    'RFDETRSeg2XLarge': (768, 64, 12, 2, 6, 300, 256),
    'RFDETRKeypointPreview': (576, 48, 12, 2, 4, 100, 256),
}
NANO = SIZES['RFDETRNano']
BASE = SIZES['RFDETRBase']


def test_all_sizes_are_there():
    assert {*NUMBERS, 'RFDETRTiny'} == set(SIZES) < set(apis.__all__)


def test_numbers_of_the_size_that_upstream_does_not_have():
    config = apis.RFDETRTiny.get_model_config()
    assert config.pretrain_weights in SHIPPED_FILES
    assert config.encoder == 'dinov2_windowed_mini'
    assert (config.resolution, config.positional_encoding_size) == (112, 14)
    assert (config.patch_size, config.num_windows) == (8, 2)
    assert (config.dec_layers, config.hidden_dim) == (2, 128)
    assert (config.num_queries, config.num_select) == (16, 100)
    assert not config.segmentation_head


@pytest.mark.parametrize('name', NUMBERS)
def test_numbers_of_a_size(name):
    model_class = getattr(apis, name)
    config = model_class.get_model_config()
    assert NUMBERS[name] == (
        config.resolution,
        config.positional_encoding_size,
        config.patch_size,
        config.num_windows,
        config.dec_layers,
        config.num_queries,
        config.hidden_dim,
    )
    assert config.num_select == config.num_queries
    assert config.group_detr == 13 and config.num_channels == 3
    assert config.segmentation_head == ('Seg' in name)
    assert config.use_grouppose_keypoints == ('Keypoint' in name)
    assert config.mask_downsample_ratio == 4
    assert config.pretrain_weights in PUBLISHED_FILES
    assert model_class.size == SIZES[name].size


@pytest.mark.parametrize(
    'name', ['RFDETRLargeDeprecated', 'RFDETRSegNano', 'RFDETRTiny']
)
def test_filling_in_the_own_numbers_changes_nothing(name):
    variant = SIZES[name]
    cfg = read_config_of(variant)
    num_classes = cfg.model.bbox_head.num_classes
    config = make_model_config(variant, dict(num_classes=num_classes))
    fill_in_model(cfg, config)
    expected = read_config_of(variant)
    expected.model.backbone.update(in_channels=3, with_cp=False)
    assert cfg.model == expected.model
    for split in ('train', 'val', 'test'):
        loader = f'{split}_dataloader'
        assert cfg[loader] == expected[loader]


def test_resolution_and_table():
    """The table follows where it was resolution / patch, else it stays."""
    config = make_model_config(NANO, dict(resolution=512))
    assert (config.resolution, config.positional_encoding_size) == (512, 32)
    config.set_resolution(320)
    assert (config.resolution, config.positional_encoding_size) == (320, 20)
    config = make_model_config(BASE, dict(resolution=448))
    assert (config.resolution, config.positional_encoding_size) == (448, 37)
    given = dict(resolution=512, positional_encoding_size=24)
    config = make_model_config(NANO, given)
    assert config.positional_encoding_size == 24
    cfg = read_config_of(NANO)
    config.num_classes = 3
    fill_in_model(cfg, config)
    assert cfg.model.backbone.img_size == 24 * 16
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        steps = loader.dataset.pipeline
        scales = [s.scale for s in steps if s.type == 'RFDETRResize']
        assert scales == [(512, 512)]


def test_what_is_changed_in_the_config():
    given = dict(
        num_classes=5,
        num_channels=4,
        hidden_dim=128,
        num_select=50,
        gradient_checkpointing=True,
        freeze_encoder=True,
        backbone_lora=True,
    )
    config = make_model_config(NANO, given)
    cfg = read_config_of(NANO)
    fill_in_model(cfg, config)
    model = cfg.model
    assert model.bbox_head.num_classes == 5
    assert model.bbox_head.embed_dims == model.neck.out_channels == 128
    assert model.test_cfg.max_per_img == 50
    assert model.backbone.in_channels == 4 and model.backbone.with_cp
    assert model.backbone.frozen_stages == 12
    assert model.adapters == dict(type='dora')
    assert len(model.data_preprocessor.mean) == 4


@pytest.mark.parametrize(
    'given, message',
    [
        (dict(resoluton=384), 'Did you mean resolution'),
        (dict(lr=1e-4), 'no argument .lr.'),
        (dict(resolution=400), '16.*2.*= 32 .*384 x 384 and 416 x 416'),
        (dict(resolution=20), 'nearest legal size is 32 x 32'),
        (dict(resolution=-32), 'nearest legal size is 32 x 32'),
        (dict(resolution=384.0), 'whole pixels.*got 384.0'),
        (dict(resolution=True), 'whole pixels.*got True'),
        (dict(resolution=(64, 96)), 'the side of a square in this class'),
        (dict(dec_layers=-1), 'dec_layers must be'),
        (dict(num_classes=0), 'num_classes must be a positive'),
        (dict(num_classes='3'), "got '3'"),
        (dict(freeze_encoder=1), 'True or False, got 1'),
        (dict(segmentation_head=True), 'RFDETRSeg'),
        (dict(encoder='resnet'), 'dinov2_windowed_small, dinov2_w'),
        (dict(positional_encoding_size=0), 'positional_encoding_size must'),
        (dict(hidden_dim=100), r'sa_nheads \(8\).*a multiple of 16, or'),
        (dict(sa_nheads=3), 'a multiple of 48'),
        (dict(ca_nheads=7), 'a multiple of 56'),
        (dict(hidden_dim=202, sa_nheads=2, ca_nheads=2), 'a multiple of 4,'),
        (dict(device='foo'), "device='foo' is not a device"),
        (dict(device='cuda:99'), "torch sees . CUDA devices; .* or 'cpu'"),
    ],
)
def test_bad_values(given, message):
    with pytest.raises(InputError, match=message):
        make_model_config(NANO, given)


def test_positive_integers():
    assert positive_int('n', 3) == positive_int('n', np.int64(3)) == 3
    for bad in (0, -1, 1.0, True, None, '3'):
        with pytest.raises(InputError, match=f'n must be a.*got {bad!r}'):
            positive_int('n', bad)


def test_no_device_is_the_best_one():
    best = make_model_config(NANO, {}).device
    assert make_model_config(NANO, dict(device=None)).device == best
    assert make_model_config(NANO, dict(device='cpu')).device == 'cpu'


def test_the_base_class_is_no_size():
    with pytest.raises(InputError, match='RFDETRNano.*from_checkpoint'):
        apis.RFDETR()
