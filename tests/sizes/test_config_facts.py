"""One image size in a config, wherever it says one."""

import copy
import json
import math
from pathlib import Path

import pytest
from mmengine.config import Config

from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.config_facts import (
    check_sizes_agree,
    image_size,
    largest_training_size,
    set_resolution,
    size_of_tests,
    size_places,
    windows_of,
)

ROOT = Path(__file__).parents[2] / 'configs'
CONFIGS = sorted(
    path
    for folder in ('rfdetr', 'rfdetr_seg', 'rfdetr_nas', 'mixing')
    for path in (ROOT / folder).glob('*.py')
)
NANO = ROOT / 'rfdetr/rfdetr_nano_coco.py'
TEST_STEP = 'test_dataloader.dataset.pipeline.1.scale'
VAL_STEP = 'val_dataloader.dataset.pipeline.1.scale'
TRAIN_STEP = 'train_dataloader.dataset.pipeline.3.scale'


def nano(**options):
    cfg = Config.fromfile(NANO)
    cfg.merge_from_dict(options)
    return cfg


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs(path):
    """They say one size; any other one is set everywhere."""
    cfg = Config.fromfile(path)
    check_sizes_agree(cfg)
    old = size_of_tests(cfg)
    assert old is not None
    block = math.prod(windows_of(cfg))
    for size_hw in [(20 * block, 20 * block), (6 * block, 8 * block)]:
        height, width = size_hw
        set_resolution(cfg, height if height == width else size_hw)
        # A dumped config has no objects in common.
        cfg = Config(json.loads(json.dumps(cfg.to_dict(), default=str)))
        places = size_places(cfg)
        assert len(places) >= 3
        assert {place.size_hw for place in places} == {size_hw}
        if 'test_pipeline' in cfg:
            assert 'test_pipeline' in {place.name for place in places}
        assert image_size(cfg) == size_hw
    if 'tiny' not in path.stem:  # whose numbers coincide
        assert str(list(old.size_hw)) not in str(cfg.to_dict())


@pytest.mark.parametrize(
    'options, first, second',
    [
        # The options that README once gave for another image size.
        (
            {TRAIN_STEP: (192, 192), VAL_STEP: (192, 192)}
            | {TEST_STEP: (192, 192), 'model.backbone.img_size': 192},
            'test_dataloader.dataset.pipeline says 192 x 192',
            'test_pipeline says 384 x 384',
        ),
        (
            {TRAIN_STEP: (192, 192)},
            'test_dataloader.dataset.pipeline says 384 x 384',
            'train_dataloader.dataset.pipeline says 192 x 192',
        ),
        ({VAL_STEP: (512, 384)}, '384 x 384', 'pipeline says 384 x 512'),
        ({VAL_STEP: 512}, '384 x 384', 'pipeline says 512 x 512'),
        ({'test_pipeline.1.scale': (64, 96)}, '384 x 384', 'says 96 x 64'),
        (
            {'tta_pipeline': [dict(type='RFDETRResize', scale=(64, 64))]},
            '384 x 384',
            'tta_pipeline says 64 x 64',
        ),
    ],
)
def test_two_sizes_are_an_error(options, first, second):
    cfg = nano(**options)
    with pytest.raises(InputError) as error:
        check_sizes_agree(cfg)
    message = str(error.value)
    assert first in message and second in message
    assert 'resolution=' in message and '\n' not in message
    with pytest.raises(InputError):
        image_size(cfg)
    set_resolution(cfg, 192)
    assert image_size(cfg) == (192, 192)


def test_the_augmentation_of_batches_is_a_place():
    cfg = Config.fromfile(ROOT / 'rfdetr/rfdetr_nano_multi-scale_coco.py')
    cfg.model.data_preprocessor.batch_augments[0].img_size = 512
    with pytest.raises(InputError, match='batch_augments says 512 x 512'):
        check_sizes_agree(cfg)


def test_training_around_another_size():
    name = 'rfdetr/rfdetr_nano_{}multi-scale_coco.py'
    for kind in ('', 'per-sample-'):
        cfg = Config.fromfile(ROOT / name.format(kind))
        set_resolution(cfg, 640)
        assert largest_training_size(cfg) == (800, 800)
        assert cfg.train_dataloader.dataset.pipeline[0].draft_size == 800
        assert cfg.model.backbone.img_size == 640
    cfg.train_dataloader.dataset.pipeline[3].scales = [(64, 64), (96, 96)]
    with pytest.raises(InputError, match='draws from a list of its own'):
        set_resolution(cfg, 512)


@pytest.mark.parametrize(
    'name, resolution, img_size',
    [
        ('rfdetr_nano_coco', 192, 192),
        ('rfdetr_nano_coco', (192, 256), 384),  # the table stays square
        ('rfdetr_base_coco', 672, 518),  # DINOv2's own table at every size
    ],
)
def test_position_table(name, resolution, img_size):
    cfg = Config.fromfile(ROOT / f'rfdetr/{name}.py')
    set_resolution(cfg, resolution)
    assert cfg.model.backbone.img_size == img_size
    check_sizes_agree(cfg)


def test_draft_size_follows():
    cfg = nano()
    set_resolution(cfg, 1024)
    assert cfg.train_dataloader.dataset.pipeline[0].draft_size == 1024
    set_resolution(cfg, 192)
    assert cfg.train_dataloader.dataset.pipeline[0].draft_size == 600


def test_several_data_sets_and_views():
    cfg = nano()
    part = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset',
        times=2,
        dataset=dict(
            type='ConcatDataset', datasets=[part, copy.deepcopy(part)]
        ),
    )
    resizes = [dict(type='RFDETRResize', scale=(s, s)) for s in (64, 96)]
    cfg.tta_pipeline = [dict(type='TestTimeAug', transforms=[resizes])]
    check_sizes_agree(cfg)
    assert len(size_places(cfg)) == 5
    inner = cfg.train_dataloader.dataset.dataset.datasets
    inner[1].pipeline[3].scale = (64, 64)
    with pytest.raises(InputError, match='datasets.1.pipeline says 64 x 64'):
        check_sizes_agree(cfg)


def test_crops_after_the_resizing_say_nothing():
    cfg = nano()
    pipeline = cfg.train_dataloader.dataset.pipeline
    pipeline[3].scale = (512, 512)
    pipeline.insert(4, dict(type='RandomCrop', crop_size=(384, 384)))
    check_sizes_agree(cfg)


def test_configs_without_pipelines():
    model = dict(type='RFDETR')
    model['backbone'] = dict(type='WindowedDINOv2', img_size=96)
    assert image_size(Config(dict(model=model))) == (96, 96)
    with pytest.raises(InputError, match='says no image size'):
        image_size(Config(dict(model=dict(type='DINO'))))
    cfg = nano()
    cfg.val_dataloader.dataset.pipeline[1].type = 'Resize'
    with pytest.raises(InputError, match='RFDETRResize.*only'):
        set_resolution(cfg, 192)


@pytest.mark.parametrize(
    'scale', [None, 'large', (1, 2, 3), (), ('a', 'b'), (64.5, 64), {}]
)
def test_what_is_no_size_says_none(scale):
    """Configs of checkpoints come from anywhere."""
    step = dict(type='RFDETRResize', scale=scale)
    cfg = dict(
        test_pipeline=[step],
        model=dict(
            batch_augments=[dict(type='BatchMultiScaleResize', img_size=scale)]
        ),
    )
    assert size_places(cfg) == [] and size_of_tests(cfg) is None
