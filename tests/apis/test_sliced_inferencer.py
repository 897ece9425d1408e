import json

import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from PIL import Image
from scipy import ndimage

from rfdetr_mm.apis import RFDETRInferencer, SlicedInferencer
from rfdetr_mm.errors import InputError
from tests.data_factory import write_coco
from tests.tiny_config import tiny_config

PATCH = 64  # px, the model's image size
HW = (150, 210)
NUM_SLICES = 3 * 5


@pytest.fixture(scope='module')
def cfg(tmp_path_factory):
    root = write_coco(tmp_path_factory.mktemp('data') / 'set', [(60, 90)])
    return tiny_config(root)


@pytest.fixture(scope='module')
def weights(cfg, tmp_path_factory):
    """A checkpoint whose scores are not all the same."""
    torch.manual_seed(0)
    model = RFDETRInferencer(cfg, device='cpu').model
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    path = tmp_path_factory.mktemp('weights') / 'tiny.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


@pytest.fixture(scope='module')
def sliced(cfg, weights):
    return SlicedInferencer(
        cfg, weights, 'cpu', show_progress=False, patch_size=PATCH
    )


@pytest.fixture(scope='module')
def whole(cfg, weights):
    return RFDETRInferencer(cfg, weights, 'cpu', show_progress=False)


def noise(hw):
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (*hw, 3), dtype=np.uint8)


def instances(found):
    return [sample.pred_instances for sample in found['predictions']]


@pytest.mark.parametrize('hw', [(64, 64), (40, 64), (64, 31)])
def test_small_images_give_what_whole_images_give(whole, sliced, hw):
    (expected,) = instances(whole(noise(hw), return_datasamples=True))
    (actual,) = instances(sliced(noise(hw), return_datasamples=True))
    assert len(expected) == 10
    for field in ('bboxes', 'scores', 'labels'):
        assert torch.equal(actual[field], expected[field]), field


@pytest.mark.parametrize('batch_size', [1, 5])
def test_a_large_image_is_its_slices(sliced, batch_size, monkeypatch):
    """Each slice gives what it would give alone, at its place."""
    parents = DetInferencer.forward
    sizes = []

    def forward(self, batch, **kwargs):
        sizes.append(len(batch['inputs']))
        return parents(self, batch, **kwargs)

    monkeypatch.setattr(DetInferencer, 'forward', forward)
    monkeypatch.setattr(sliced, 'merge_iou_thr', 1.0)
    monkeypatch.setattr(sliced, 'min_score', 0.0)
    image = noise(HW)
    (actual,) = instances(
        sliced(image, batch_size=batch_size, return_datasamples=True)
    )
    assert max(sizes) == batch_size and sum(sizes) == NUM_SLICES
    assert len(actual) == NUM_SLICES * 10
    corner = image[-PATCH:, -PATCH:].copy()
    (last,) = instances(sliced(corner, return_datasamples=True))
    shifted = last.bboxes + torch.tensor([HW[1] - PATCH, HW[0] - PATCH] * 2)
    distance = torch.cdist(shifted, actual.bboxes, p=float('inf'))
    assert distance.amin(1).max() < 0.01


def red_things(batch, **kwargs):
    """A detector of red things, with masks."""
    found = []
    for pixels in batch['inputs']:
        blue, green, red = pixels.numpy().astype(int)
        numbered, _ = ndimage.label(red - np.maximum(green, blue) > 100)
        places = ndimage.find_objects(numbered)
        boxes = [(x.start, y.start, x.stop, y.stop) for y, x in places]
        masks = [numbered == i + 1 for i in range(len(places))]
        sample = DetDataSample()
        sample.pred_instances = InstanceData(
            bboxes=torch.tensor(boxes).reshape(-1, 4).float(),
            scores=torch.full((len(boxes),), 0.9),
            labels=torch.zeros(len(boxes), dtype=torch.long),
            masks=torch.tensor(np.array(masks)).reshape(-1, *pixels.shape[1:]),
        )
        found.append(sample)
    return found


THINGS = [(5, 5, 25, 20), (55, 30, 75, 50), (100, 70, 190, 90)]


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """Red boxes: inside of a slice, on a seam, larger than a slice."""
    monkeypatch.setattr(
        DetInferencer, 'forward', lambda self, *a, **k: red_things(*a, **k)
    )
    pixels = np.full((*HW, 3), 128, np.uint8)
    for x1, y1, x2, y2 in THINGS:
        pixels[y1:y2, x1:x2] = (250, 10, 20)
    path = tmp_path / 'scene.png'
    Image.fromarray(pixels).save(path)
    return path, pixels


def test_objects_on_seams_are_found_once_with_their_masks(scene, sliced):
    path, pixels = scene
    for image in (str(path), np.ascontiguousarray(pixels[..., ::-1])):
        (found,) = instances(sliced(image, return_datasamples=True))
        assert sorted(found.bboxes.tolist()) == [list(t) for t in THINGS]
        for mask, box in zip(found.masks, found.bboxes.int().tolist()):
            expected = torch.zeros(HW, dtype=torch.bool)
            expected[box[1] : box[3], box[0] : box[2]] = True
            assert torch.equal(mask, expected)


def test_files_are_written_under_the_name_of_the_image(
    scene, sliced, tmp_path
):
    out = tmp_path / 'out'
    sliced(str(scene[0]), out_dir=str(out), no_save_pred=False)
    assert (out / 'vis' / 'scene.png').is_file()
    found = json.loads((out / 'preds' / 'scene.json').read_text())
    assert sorted(found['bboxes']) == [list(t) for t in THINGS]
    assert found['masks'][0]['size'] == list(HW)


def test_the_whole_image_is_looked_at_too(scene, sliced, monkeypatch):
    shapes = []

    def forward(self, batch, **kwargs):
        shapes.extend(sample.ori_shape for sample in batch['data_samples'])
        return red_things(dict(inputs=[torch.zeros(3, 1, 1)] * len(shapes)))

    monkeypatch.setattr(DetInferencer, 'forward', forward)
    monkeypatch.setattr(sliced, 'with_whole_image', True)
    sliced(str(scene[0]))
    assert shapes == [(PATCH, PATCH)] * NUM_SLICES + [HW]


def test_low_scores_are_left_out(scene, sliced, monkeypatch):
    monkeypatch.setattr(sliced, 'min_score', 0.95)
    (found,) = instances(sliced(str(scene[0]), return_datasamples=True))
    assert len(found) == 0 and found.masks.shape == (0, *HW)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(patch_size=0), 'positive number'),
        (dict(patch_size=(64, -1)), '64 x -1'),
        (dict(patch_overlap_ratio=1.5), 'below 1, not 1.5'),
    ],
)
def test_bad_options(cfg, options, message):
    with pytest.raises(InputError, match=message):
        SlicedInferencer(cfg, device='cpu', **options)
