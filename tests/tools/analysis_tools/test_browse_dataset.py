"""The grid shows the pixels and boxes that the model is fed."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rfdetr_mm.apis.dataset_grids import GAP, write_grid
from rfdetr_mm.engine import ReadableDetVisualizer
from tests.data_factory import CLASSES, COLOURS, edit_json, write_layout

ROOT = Path(__file__).parents[3]
NANO = str(ROOT / 'configs/rfdetr/rfdetr_nano_custom.py')


@pytest.fixture
def browse_dataset(monkeypatch):
    monkeypatch.setattr(sys, 'path', [str(ROOT / 'tools'), *sys.path])
    path = ROOT / 'tools/analysis_tools/browse_dataset.py'
    spec = importlib.util.spec_from_file_location('browse_dataset', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def drawn(monkeypatch):
    """What is handed to the visualizer: picture, boxes and names."""
    calls = []
    original = ReadableDetVisualizer.add_datasample

    def spy(self, name, image, data_sample, **kwargs):
        truth = data_sample.gt_instances
        names = [self.dataset_meta['classes'][label] for label in truth.labels]
        masks = truth.masks.masks.copy() if 'masks' in truth else None
        boxes = truth.bboxes.numpy().copy()
        calls.append((image.copy(), boxes, names, masks))
        original(self, name, image, data_sample, **kwargs)

    monkeypatch.setattr(ReadableDetVisualizer, 'add_datasample', spy)
    return calls


def assert_boxes_are_where_the_colours_are(calls) -> None:
    """In RGB, at the place and of the class of each box."""
    assert sum(len(boxes) for _, boxes, *_ in calls) > 0
    for image, boxes, names, _ in calls:
        for box, name in zip(boxes, names):
            x, y = ((box[:2] + box[2:]) / 2).astype(int)
            colour = COLOURS[CLASSES.index(name)]
            assert np.abs(image[y, x].astype(int) - colour).max() < 40


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_grid_of_own_data(tmp_path, browse_dataset, drawn, split, capsys):
    root = write_layout(tmp_path / 'data', 'roboflow', objects_per_image=1)
    out = tmp_path / 'new' / 'grid.png'
    assert out == browse_dataset.main(
        [NANO, '--out', str(out), '--split', split, '--num', '9']
        + ['--cfg-options', f'data_root={root}']
    )
    assert len(drawn) == 3  # all there are, one without objects
    assert sorted(len(boxes) for _, boxes, *_ in drawn)[0] == 0
    assert {image.shape for image, *_ in drawn} == {(384, 384, 3)}
    assert_boxes_are_where_the_colours_are(drawn)
    gap = GAP
    # Each has a heading of 16 px.
    sides = [2 * (side + gap) + gap for side in (384, 400)]
    assert Image.open(out).size == tuple(sides)
    assert f'3 images of the {split} set in {out}' in capsys.readouterr().out


def test_seed_decides_on_images_and_augmentations(
    tmp_path, browse_dataset, drawn
):
    root = write_layout(tmp_path / 'data', 'flat')
    for seed in '0', '0', '1':
        browse_dataset.main(
            [NANO, '--out', str(tmp_path / 'a.png'), '--seed', seed]
            + ['--num', '2', '--cfg-options', f'data_root={root}']
        )
    first, again, other = (
        np.stack([image for image, *_ in drawn[i : i + 2]]) for i in (0, 2, 4)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_masks_and_other_sizes(tmp_path, browse_dataset, drawn, split):
    root = write_layout(tmp_path / 'data', 'flat', objects_per_image=1)
    for name in ('train', 'val', 'test'):
        edit_json(root / f'{name}.json', add_masks)
    config = tmp_path / 'rect.py'
    base = ROOT / 'configs/rfdetr/rfdetr_nano_custom.py'
    config.write_text(f"""
_base_ = {str(base)!r}
train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[1].update(with_mask=True)
train_pipeline[3].scale = (192, 96)
test_pipeline[2].update(with_mask=True)
test_pipeline[1].scale = (192, 96)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
""")
    browse_dataset.main(
        [str(config), '--out', str(tmp_path / 'a.png'), '--split', split]
        + ['--cfg-options', f'data_root={root}']
    )
    for image, boxes, _, masks in drawn:
        assert image.shape == (96, 192, 3) and len(masks) == len(boxes)
        for box, mask in zip(boxes, masks):
            rows, columns = mask.nonzero()
            around = [columns.min(), rows.min(), columns.max(), rows.max()]
            assert np.abs(np.array(around) - box).max() < 3
    assert_boxes_are_where_the_colours_are(drawn)


def add_masks(content) -> None:
    for annotation in content['annotations']:
        x, y, w, h = annotation['bbox']
        annotation['segmentation'] = [[x, y, x + w, y, x + w, y + h, x, y + h]]


def test_large_images_are_shrunk_in_the_grid(tmp_path, browse_dataset):
    sizes = [(960, 480), (100, 300)]  # (h, w)
    pictures = [np.zeros((*size, 3), np.uint8) for size in sizes]
    write_grid(pictures, tmp_path / 'a.png')
    gap = GAP
    width, height = 300 + gap, 480 + gap
    assert Image.open(tmp_path / 'a.png').size == (
        2 * width + gap,
        height + gap,
    )


def test_errors_are_one_line(tmp_path, browse_dataset):
    with pytest.raises(SystemExit, match='The folder of the data set') as e:
        browse_dataset.main([NANO, '--cfg-options', 'data_root=none'])
    assert '\n' not in str(e.value)
    with pytest.raises(SystemExit, match='at least 1, got 0'):
        browse_dataset.main([NANO, '--num', '0'])
