"""A small supernet: its config file, weights and data."""

import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from tests.data_factory import CLASSES, write_coco

ROOT = Path(__file__).parents[3]
CONFIG = """
_base_ = {base!r}
search_space = dict(
    resolutions=[(32, 48), (64, 64)], patch_sizes=[8, 6], num_windows=[1, 2],
    num_decoder_layers=[0, 1, 2], num_queries=[3, 6])
model = dict(
    subnet='64x64-p8-w2-d2-q6',
    neck=dict(out_channels=32),
    bbox_head=dict(
        num_classes=2, embed_dims=32, num_queries=6, num_groups=2,
        decoder=dict(feedforward_channels=16)))
train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[2].scale = (64, 64)
test_pipeline[1].scale = (64, 64)
data = dict(
    data_root={data_root!r}, ann_file='annotations.json',
    data_prefix=dict(img='images/'), metainfo=dict(classes={classes!r}))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **data))
val_dataloader = dict(
    batch_size=2, dataset=dict(pipeline=test_pipeline, **data))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file={ann_file!r})
test_evaluator = val_evaluator
"""


@pytest.fixture(autouse=True, scope='package')
def tools_on_the_path():
    sys.path.insert(0, str(ROOT / 'tools' / 'nas'))
    yield
    sys.path.remove(str(ROOT / 'tools' / 'nas'))


@pytest.fixture(scope='package')
def supernet(tmp_path_factory):
    """Paths of config and checkpoint."""
    folder = tmp_path_factory.mktemp('supernet')
    data_root = write_coco(
        folder / 'data',
        [(60, 90), (90, 60), (50, 50)],
        empty=(2,),
        objects_per_image=2,
    )
    config = folder / 'supernet.py'
    config.write_text(
        CONFIG.format(
            base=str(ROOT / 'configs/rfdetr_nas/rfdetr-nas_tiny_shapes.py'),
            data_root=str(data_root),
            ann_file=str(Path(data_root) / 'annotations.json'),
            classes=CLASSES,
        )
    )
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(Config.fromfile(config).model)
    with torch.no_grad():
        for param in model.parameters():
            param.add_(0.05 * torch.randn_like(param))
    checkpoint = folder / 'supernet.pth'
    torch.save(
        dict(
            state_dict=model.state_dict(),
            meta=dict(dataset_meta=dict(classes=CLASSES)),
        ),
        checkpoint,
    )
    return config, checkpoint
