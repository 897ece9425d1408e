"""Pictures that are stored turned, and labels of what a viewer shows."""

import cv2
import numpy as np
import pytest
import torch
import torchvision
from mmcv.transforms import LoadImageFromFile
from PIL import Image, ImageOps

from rfdetr_mm.datasets import resolve_own_data
from rfdetr_mm.datasets.orientation import (
    applies_orientation,
    apply_orientation,
    ignores_orientation,
)
from rfdetr_mm.errors import InputError
from rfdetr_runtime.image_file import turn
from tests.data_factory import edit_json, write_layout
from tests.datasets.test_own_data import (
    assert_labels_are_right,
    custom_config,
)

BACK = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}


def save_turned(pixels, path, orientation):
    """A file whose viewer shows these pixels."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(turn(pixels, BACK[orientation]))
    stored.save(path, exif=exif)


def turned_set(root, layout):
    """A data set of files with all orientations, labelled as they look."""
    write_layout(root, layout)
    for number, path in enumerate(sorted(root.rglob('*.png'))):
        pixels = np.asarray(Image.open(path).convert('RGB'))
        save_turned(pixels, path, 1 + (3 * number + 5) % 8)
    return root


@pytest.mark.parametrize('orientation', range(1, 9))
def test_pixels_are_those_of_a_viewer(tmp_path, orientation):
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    path = tmp_path / '1.png'
    save_turned(pixels, path, orientation)
    with Image.open(path) as picture:
        stored = np.asarray(picture)
        viewed = np.asarray(ImageOps.exif_transpose(picture))
    assert (viewed == pixels).all()
    assert (turn(stored, orientation) == pixels).all()
    # What the table in docs/own_data.md says of other readers.
    assert (cv2.imread(str(path))[..., ::-1] == pixels).all()
    found = LoadImageFromFile().transform(dict(img_path=str(path)))['img']
    assert (found[..., ::-1] == pixels).all()
    as_stored = torchvision.io.read_image(str(path)).permute(1, 2, 0)
    assert torch.equal(as_stored, torch.from_numpy(stored.copy()))


@pytest.mark.parametrize('layout', ['roboflow', 'coco', 'flat', 'yolo'])
def test_labels_lie_on_the_turned_pictures(tmp_path, layout):
    root = turned_set(tmp_path / 'set', layout)
    cfg = custom_config(root, apply_orientation=True)
    resolve_own_data(cfg)
    assert 'apply_orientation' not in cfg
    assert_labels_are_right(cfg)


def test_without_the_option_they_do_not(tmp_path):
    cfg = custom_config(turned_set(tmp_path / 'yolo', 'yolo'))
    resolve_own_data(cfg)
    with pytest.raises((AssertionError, IndexError)):
        assert_labels_are_right(cfg)
    cfg = custom_config(turned_set(tmp_path / 'flat', 'flat'))
    resolve_own_data(cfg)
    with pytest.raises(InputError, match='apply_orientation=True'):
        assert_labels_are_right(cfg)


def test_sizes_that_the_file_does_not_tell(tmp_path):
    root = turned_set(tmp_path / 'set', 'flat')
    for split in ('train', 'val', 'test'):
        edit_json(
            root / f'{split}.json',
            lambda content: [
                image.update(height=None, width=None)
                for image in content['images']
            ],
        )
    cfg = custom_config(root, apply_orientation=True)
    resolve_own_data(cfg)
    assert_labels_are_right(cfg)


def test_every_loader_of_a_config_turns(tmp_path):
    cfg = custom_config(write_layout(tmp_path / 'set', 'flat'))
    pipelines = [
        cfg[f'{split}_dataloader'].dataset.pipeline
        for split in ('train', 'val', 'test')
    ] + [cfg.test_pipeline]
    assert all(map(ignores_orientation, pipelines))
    assert not any(map(applies_orientation, pipelines))
    for part in cfg.values():
        apply_orientation(part)
    pipelines = [
        cfg[f'{split}_dataloader'].dataset.pipeline
        for split in ('train', 'val', 'test')
    ] + [cfg.test_pipeline]
    assert all(map(applies_orientation, pipelines))
    assert not any(map(ignores_orientation, pipelines))
    assert 'draft_size' not in pipelines[0][0]
    assert not applies_orientation([dict(type='PackDetInputs')])
    # mmcv's default, and a built transform.
    assert applies_orientation([dict(type='mmcv.LoadImageFromFile')])
    assert applies_orientation([LoadImageFromFile()])
