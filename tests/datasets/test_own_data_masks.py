"""What own_data tells data sets and metrics alike."""

import pytest

from rfdetr_mm.datasets.layouts import SPLITS
from rfdetr_mm.datasets.own_data import resolve_own_data
from rfdetr_mm.errors import InputError
from tests.data_factory import write_layout
from tests.datasets.test_own_data import custom_config


def test_crowds_may_be_taken_for_objects(tmp_path):
    root = write_layout(tmp_path / 'set', 'flat')
    cfg = custom_config(root, crowd_as_object=True)
    resolve_own_data(cfg)
    for split in SPLITS:
        assert cfg[f'{split}_dataloader'].dataset.crowd_as_object
    assert cfg.val_evaluator.crowd_as_object
    assert cfg.test_evaluator.crowd_as_object
    assert 'crowd_as_object' not in cfg


def test_yolo_with_masks_leaves_out_the_same_in_every_split(tmp_path):
    root = write_layout(tmp_path, 'yolo')
    cfg = custom_config(root)
    cfg.val_evaluator.metric = ['bbox', 'segm']
    resolve_own_data(cfg)
    assert cfg.val_dataloader.dataset.with_mask
    assert 'with_mask' not in cfg.test_dataloader.dataset


def test_yolo_without_a_label_to_validate_against(tmp_path):
    root = write_layout(tmp_path, 'yolo')
    for path in (tmp_path / 'valid/labels').iterdir():
        path.unlink()
    with pytest.raises(InputError, match="'val': none of 3 images has a box"):
        resolve_own_data(custom_config(root))
