"""Supernets: all published sizes are points of one search space."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import HOOKS, MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch._subclasses.fake_tensor import FakeTensorMode

from rfdetr_mm.checkpoints import PUBLISHED_FILES
from rfdetr_mm.apis.no_random_weights import no_random_weights
from rfdetr_mm.models import SearchSpace, Subnet
from rfdetr_mm.models.layers.patch_kernel import resize_patch_kernel

ROOT = Path(__file__).parents[2] / 'configs'
FILES = sorted(ROOT.glob('rfdetr_nas/*.py'))
SUPERNETS = [f for f in FILES if f.stem.endswith('_coco')]
# Nominal image size of the published configs: the next of the space's sizes.
NOMINAL = {
    'nano': 384,
    'small': 512,
    'medium': 576,
    'large': 704,
    'base': 576,
    'large-deprecated': 576,
    'xlarge': 704,
    '2xlarge': 896,
}


@pytest.fixture(autouse=True, scope='module')
def mmdet_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def published(name):
    cfg = Config.fromfile(ROOT / 'rfdetr' / f'rfdetr_{name}_coco.py')
    (resize,) = [t for t in cfg.test_pipeline if t.type == 'RFDETRResize']
    width, height = resize.scale
    return cfg, Subnet(
        (height, width),
        cfg.patch_size,
        cfg.num_windows,
        cfg.model.bbox_head.decoder.get('num_layers', 3),
        cfg.num_queries,
    )


def scales(pipeline):
    return [t.scale for t in pipeline if t.type == 'RFDETRResize']


def test_four_supernets_and_their_custom_files():
    assert {f.stem for f in FILES} == {
        *(
            f'rfdetr-{task}_{arch}_{data}'
            for task in ('nas', 'seg-nas')
            for arch in ('small', 'base')
            for data in ('coco', 'custom')
        ),
        'rfdetr-nas_tiny_shapes',
    }


@pytest.mark.parametrize('file', FILES, ids=lambda f: f.stem)
def test_parts_fit_together(file):
    cfg = Config.fromfile(file)
    space = SearchSpace.from_config(cfg.search_space)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert len(space) == (108 if 'tiny' in file.stem else 6468)
    for pipeline in (cfg.train_pipeline, cfg.train_dataloader.dataset.pipeline):
        assert scales(pipeline) == [space.largest_size()[::-1]]
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert scales(loader.dataset.pipeline) == [
            model.subnet.resolution[::-1]
        ]
    # The position table has the cells of the finest grid.
    finest = max(max(space.resolutions)) // min(space.patch_sizes)
    assert 'tiny' in file.stem or model.backbone.grid_size == finest
    assert cfg.find_unused_parameters
    (step,) = cfg.model.data_preprocessor.batch_augments
    assert step.type == 'BatchSubnetResize'
    assert cfg.model.data_preprocessor.pad_size_divisor == 1
    hooks = [h.type for h in cfg.custom_hooks]
    assert {'OptimStepEMAHook', 'ClassRowsHook', 'SubnetHook'} == set(hooks)
    HOOKS.build(cfg.custom_hooks[-1])
    model.set_subnet(space.largest())
    model.set_subnet(next(iter(space)).rounded())
    masks = getattr(model.bbox_head, 'mask_branch', None)
    if masks is not None:
        assert masks.upsample_ratio == model.backbone.patch_size / 4
        assert cfg.train_pipeline[1].with_mask


@pytest.mark.parametrize('task', ['nas', 'seg-nas'])
@pytest.mark.parametrize('arch', ['small', 'base'])
def test_own_data_starts_from_published_weights_or_dinov2(task, arch):
    cfg = Config.fromfile(
        ROOT / 'rfdetr_nas' / f'rfdetr-{task}_{arch}_custom.py'
    )
    assert cfg.dataset_layout == 'auto'
    if arch == 'base':
        assert cfg.load_from is None
        assert 'dinov2_vitb14' in cfg.model.backbone.init_cfg.checkpoint
        assert cfg.model.backbone.patch_size == 14
    else:
        file = cfg.load_from.removeprefix('rfdetr://')
        assert file in PUBLISHED_FILES
        assert cfg.model.backbone.get('init_cfg') is None


@pytest.mark.parametrize('name', NOMINAL)
def test_published_size_is_a_point(name):
    """Its model has the shapes of the published one; nothing is computed."""
    cfg, subnet = published(name)
    arch = cfg.model.backbone.arch
    supernet_cfg = Config.fromfile(
        ROOT / 'rfdetr_nas' / f'rfdetr-nas_{arch}_coco.py'
    )
    space = SearchSpace.from_config(supernet_cfg.search_space)
    nominal = Subnet(
        (NOMINAL[name],) * 2, *list(vars(subnet).values())[1:]
    )
    assert nominal in set(space)
    assert nominal.rounded() == subnet
    supernet_cfg.model.backbone.init_cfg = None
    for side in (14, 16):  # kept for the fake tensors below
        resize_patch_kernel(torch.zeros(1, 1, side, side), subnet.patch_size)
    shapes = []
    # Random weights are left out: torch 2.14 looks at the values it draws.
    with FakeTensorMode(allow_non_fake_inputs=True), no_random_weights():
        supernet = MODELS.build(supernet_cfg.model).eval()
        supernet.set_subnet(subnet)
        for model in (supernet, MODELS.build(cfg.model).eval()):
            images = torch.zeros(1, 3, *subnet.resolution)
            feats = model.backbone(images)
            scores, boxes = model(images)
            shapes.append(
                [tuple(x.shape) for x in (*feats, scores, boxes)]
            )
    assert shapes[0] == shapes[1]
    depth = subnet.num_decoder_layers
    assert shapes[0][-2] == (depth, 1, 300, 80)
    cell = tuple(side // subnet.patch_size for side in subnet.resolution)
    assert shapes[0][0][-2:] == cell
