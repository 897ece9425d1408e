"""The default training pipeline's geometry against rfdetr's.

Both sides draw from their own generators, so the draws are compared as sets
and by their means, and everything that follows from a draw exactly.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.config import Config
from mmengine.dataset import Compose
from PIL import Image

from rfdetr_mm.datasets.transforms import LoadCheckedImage, RandomSquareCrop

pytest.importorskip('rfdetr')

CONFIG = Path(__file__).parents[2] / 'configs/rfdetr/rfdetr_nano_coco.py'
BOXES = [[10.0, 20.0, 90.0, 110.0], [100, 5, 140, 30], [0, 100, 20, 118]]


def positions(h: int, w: int) -> np.ndarray:
    rows, columns = np.mgrid[:h, :w].astype(np.uint8)
    return np.stack([rows, columns, np.zeros_like(rows)], axis=2)


def upstream_crop(h: int, w: int, sides: tuple[int, int], side: int):
    """Let upstream crop, without resizing (the size it drew is kept)."""
    from rfdetr.datasets import _torchvision

    taken = []
    real = _torchvision.crop

    def spy(image, target, *box):
        taken.append((box, real(image, target, *box)))
        return taken[-1][1]

    _torchvision.crop = spy
    try:
        target = dict(
            boxes=torch.tensor(BOXES),
            labels=torch.arange(len(BOXES)),
            area=torch.ones(len(BOXES)),
        )
        image = Image.fromarray(positions(h, w))
        _torchvision.RandomSizedCrop(sides, (side, side))(image, target)
    finally:
        _torchvision.crop = real
    (top, left, height, width), (_, target) = taken[0]
    return (top, left, height, width), target


@pytest.mark.parametrize(
    'hw, sides', [((50, 52), (40, 44)), ((52, 42), (40, 44))]
)
def test_crops_are_drawn_alike(hw, sides):
    np.random.seed(0)
    theirs = [upstream_crop(*hw, sides, 32)[0] for _ in range(1500)]
    ours = []
    for _ in range(1500):
        results = RandomSquareCrop(*sides).transform(
            dict(img=positions(*hw), img_shape=hw)
        )
        img = results['img']
        ours.append((int(img[0, 0, 0]), int(img[0, 0, 1]), *img.shape[:2]))
    for column in range(4):
        a, b = (np.array(draws)[:, column] for draws in (theirs, ours))
        assert (a.min(), a.max()) == (b.min(), b.max())
        spread = max(a.std(), b.std())
        assert abs(a.mean() - b.mean()) <= 4 * spread * (2 / 1500) ** 0.5
        assert abs(a.std() - b.std()) <= 0.1 * spread


def test_equal_crops_keep_equal_boxes(monkeypatch):
    for _ in range(60):
        (top, left, side, _), target = upstream_crop(120, 150, (20, 60), 32)
        transform = RandomSquareCrop(20, 60)
        monkeypatch.setattr(
            transform, '_get_crop_size', lambda size, side=side: (side, side)
        )
        monkeypatch.setattr(
            transform,
            '_rand_offset',
            lambda margin, top=top, left=left: (top, left),
        )
        results = transform.transform(
            dict(
                img=positions(120, 150),
                img_shape=(120, 150),
                gt_bboxes=HorizontalBoxes(torch.tensor(BOXES)),
                gt_bboxes_labels=np.arange(len(BOXES)),
            )
        )
        assert torch.equal(results['gt_bboxes'].tensor, target['boxes'])
        assert (
            results['gt_bboxes_labels'].tolist() == target['labels'].tolist()
        )


@pytest.mark.parametrize('draft_size', [None, 200, 60, 40, 10])
def test_files_are_decoded_alike(tmp_path, draft_size):
    from rfdetr.datasets.coco import scale_coco_annotation
    from rfdetr.datasets.io_utils import decode_pil_image

    h, w = 123, 190
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (8, 11, 3), dtype=np.uint8)
    path = tmp_path / 'photo.jpg'
    Image.fromarray(coarse).resize((w, h)).save(path)
    box = [10.0, 20.0, 90.0, 110.0]
    load = LoadCheckedImage(
        color_type='color_ignore_orientation',
        imdecode_backend='pillow',
        draft_size=draft_size,
    )
    ours = load(dict(img_path=str(path), instances=[dict(bbox=box)]))
    picture, scale = decode_pil_image(path, draft_size)
    np.testing.assert_array_equal(ours['img'], np.asarray(picture)[..., ::-1])
    x, y, w, h = scale_coco_annotation({'bbox': [10, 20, 80, 90]}, *scale)[
        'bbox'
    ]
    np.testing.assert_allclose(
        ours['instances'][0]['bbox'], [x, y, x + w, y + h], rtol=1e-12
    )


def scaled_views(run, count: int) -> list[tuple]:
    """(part of the image's height and width that was seen, flipped)."""
    views = []
    for _ in range(count):
        img = np.asarray(run()).astype(float)
        rows, columns = img[..., 0], img[..., 1]
        seen_h = rows.max() - rows.min()
        seen_w = columns.max() - columns.min()
        views.append((seen_h, seen_w, columns[0, 0] > columns[0, -1]))
    return views


def test_whole_pipelines_show_the_same_views():
    """Branches, short sides, crops and flips together.

    A ramp image of 240 x 200 px: the resized short side of 400, 500 or
    600 px and the crop show in how much of the ramp is left.
    """
    from rfdetr.datasets import coco

    size, count = 64, 300
    ramp = positions(240, 200)
    theirs_of = coco._build_train_resize_transforms([size], square=True)
    from rfdetr.datasets._torchvision import RandomHorizontalFlip

    flip = RandomHorizontalFlip(0.5)

    def theirs():
        return flip(theirs_of(Image.fromarray(ramp), None)[0], None)[0]

    pipeline = Config.fromfile(CONFIG).train_pipeline
    steps = [t for t in pipeline if 'Load' not in t.type][:-1]
    for step in steps:
        if step.type == 'RFDETRResize':
            step.scale = (size, size)
    ours_of = Compose(steps)

    def ours():
        boxes = HorizontalBoxes(torch.zeros(0, 4))
        return ours_of(
            dict(img=ramp.copy(), img_shape=(240, 200), gt_bboxes=boxes)
        )['img']

    np.random.seed(0)
    a, b = (np.array(scaled_views(f, count)) for f in (theirs, ours))
    error = (2 / count) ** 0.5
    whole = [(v[:, 0] > 235).mean() for v in (a, b)]
    assert abs(whole[0] - whole[1]) < 4 * 0.5 * error
    assert abs(a[:, 2].mean() - b[:, 2].mean()) < 4 * 0.5 * error
    for column in range(2):
        spread = max(a[:, column].std(), b[:, column].std())
        means = a[:, column].mean(), b[:, column].mean()
        assert abs(means[0] - means[1]) < 4 * spread * error
    # Cropped views are squares of the image, the whole one is not.
    for views in (a, b):
        cropped = views[views[:, 1] < 190]
        assert len(cropped) > count / 10
        assert np.abs(cropped[:, 0] - cropped[:, 1]).max() < 8
