"""The configs for data sets of one's own."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from rfdetr_mm.checkpoints import PUBLISHED_FILES
from rfdetr_mm.datasets import resolve_own_data
from tests.data_factory import write_layout

ROOT = Path(__file__).parents[2] / 'configs'
WEIGHTS = {
    'nano': 'rf-detr-nano.pth',
    'small': 'rf-detr-small.pth',
    'medium': 'rf-detr-medium.pth',
    'large': 'rf-detr-large-2026.pth',
    'base': 'rf-detr-base.pth',
    'large-deprecated': 'rf-detr-large.pth',
    'xlarge': 'rf-detr-xlarge.pth',
    '2xlarge': 'rf-detr-xxlarge.pth',
    'seg_nano': 'rf-detr-seg-nano.pt',
    'seg_small': 'rf-detr-seg-small.pt',
    'seg_medium': 'rf-detr-seg-medium.pt',
    'seg_large': 'rf-detr-seg-large.pt',
    'seg_xlarge': 'rf-detr-seg-xlarge.pt',
    'seg_2xlarge': 'rf-detr-seg-xxlarge.pt',
    'seg_preview': 'rf-detr-seg-preview.pt',
}


def custom_file(name: str) -> Path:
    if name.startswith('seg_'):
        return ROOT / 'rfdetr_seg' / f'rfdetr-{name}_custom.py'
    return ROOT / 'rfdetr' / f'rfdetr_{name}_custom.py'


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    return write_layout(tmp_path_factory.mktemp('own') / 'set', 'roboflow')


@pytest.mark.parametrize('name', WEIGHTS)
def test_models_fit_the_data_set(name, data_root):
    cfg = Config.fromfile(custom_file(name))
    cfg.data_root = str(data_root)
    resolve_own_data(cfg)
    with torch.device('meta'), DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
    num_classes = {
        parameter.shape[-1]
        for key, parameter in model.named_parameters()
        if 'cls' in key and key.endswith('bias')
    }
    assert num_classes == {2}


@pytest.mark.parametrize('name', WEIGHTS)
def test_the_rest_is_as_for_coco(name):
    """Only the data set is open and the weights are named."""
    cfg = Config.fromfile(custom_file(name))
    coco_file = str(custom_file(name)).replace('_custom', '_coco')
    coco = Config.fromfile(coco_file)
    assert cfg.pop('dataset_layout') == 'auto'
    assert cfg.load_from == f'rfdetr://{WEIGHTS[name]}'
    assert WEIGHTS[name] in PUBLISHED_FILES
    assert cfg.data_root == 'data/custom/'
    for config in (cfg, coco):
        config.pop('load_from')
        config.pop('data_root')
        for split in ('train', 'val', 'test'):
            dataset = config[f'{split}_dataloader'].dataset
            own = (dataset.data_root, dataset.ann_file, dataset.data_prefix)
            evaluator = config.get(f'{split}_evaluator', {'ann_file': ''})
            if config is cfg:
                assert own == ('', '', {'img': ''})
                assert evaluator['ann_file'] == ''
            del dataset.data_root, dataset.ann_file, dataset.data_prefix
            del evaluator['ann_file']
    assert cfg._cfg_dict == coco._cfg_dict


def test_the_files_differ_in_variant_and_weights_only():
    texts = {
        custom_file(name)
        .read_text()
        .replace(custom_file(name).stem.replace('_custom', '_coco'), 'BASE')
        .replace(f'rfdetr://{weights}', 'WEIGHTS')
        for name, weights in WEIGHTS.items()
        if name not in ('xlarge', '2xlarge')
    }
    assert len(texts) == 1
    for name in ('xlarge', '2xlarge'):
        option = f'load_from=rfdetr://{WEIGHTS[name]}?accept_platform_model'
        assert option in custom_file(name).read_text()


def test_options_act_on_one_place():
    cfg = Config.fromfile(custom_file('nano'))
    cfg.merge_from_dict(
        {
            'train_dataloader.batch_size': 2,
            'model.bbox_head.num_queries': 100,
            'test_dataloader.dataset.ann_file': 'mine.json',
            'test_evaluator.ann_file': 'mine.json',
        }
    )
    assert cfg.train_dataloader.batch_size == 2
    assert cfg.model.bbox_head.num_queries == 100
    files = [
        cfg[f'{split}_dataloader'].dataset.ann_file
        for split in ('train', 'val', 'test')
    ]
    assert files == ['', '', 'mine.json']
    assert cfg.val_evaluator.ann_file == ''
