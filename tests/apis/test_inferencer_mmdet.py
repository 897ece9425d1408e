"""mmdet's own ``DetInferencer``, with our configs and weights."""

import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmdet.registry import MODELS
from PIL import Image

from rfdetr_mm.apis import RFDETRInferencer
from tests.data_factory import CLASSES, write_coco
from tests.tiny_config import MAX_PER_IMG, tiny_config

SIZES = [(60, 90), (90, 60)]
CONFIGS = {
    'box': 'rfdetr/rfdetr_nano_coco.py',
    'mask': 'rfdetr_seg/rfdetr-seg_nano_coco.py',
}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp('data') / 'set', SIZES)


@pytest.fixture(scope='module', params=list(CONFIGS))
def files(request, root, tmp_path_factory):
    """A config and its weights, on disk."""
    cfg = tiny_config(root, CONFIGS[request.param])
    folder = tmp_path_factory.mktemp(request.param)
    cfg.dump(folder / 'tiny.py')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(
        dict(state_dict=model.state_dict(), meta=meta), folder / 'tiny.pth'
    )
    return str(folder / 'tiny.py'), str(folder / 'tiny.pth')


@pytest.fixture(scope='module')
def mmdets(files):
    return DetInferencer(*files, device='cpu', show_progress=False)


@pytest.fixture(scope='module')
def expected(files, root):
    ours = RFDETRInferencer(*files, device='cpu', show_progress=False)
    paths = [str(root / 'images' / f'{i}.png') for i in (1, 2)]
    found = ours(paths, return_datasamples=True)['predictions']
    return [sample.pred_instances for sample in found]


def bgr(path):
    return np.asarray(Image.open(path))[..., ::-1].copy()


@pytest.mark.parametrize(
    'read, indices',
    [
        (lambda folder: str(folder / '1.png'), [0]),
        (lambda folder: [str(folder / '2.png')], [1]),
        (lambda folder: bgr(folder / '1.png'), [0]),
        (lambda folder: [bgr(folder / f'{i}.png') for i in (1, 2)], [0, 1]),
        (lambda folder: str(folder), [0, 1]),
    ],
    ids=['file', 'list of files', 'array', 'list of arrays', 'folder'],
)
def test_inputs(mmdets, expected, root, read, indices):
    inputs = read(root / 'images')
    found = mmdets(inputs, return_datasamples=True)['predictions']
    if isinstance(inputs, str) and len(indices) == 2:  # in the system's order
        found.sort(key=lambda sample: sample.img_path)
    assert len(found) == len(indices)
    for sample, i in zip(found, indices):
        actual = sample.pred_instances
        assert len(actual) == MAX_PER_IMG
        for field, value in expected[i].items():
            assert torch.equal(actual[field], value), field
        if 'masks' in actual:
            assert actual.masks.shape == (MAX_PER_IMG, *SIZES[i])


def test_results_are_plain_data(mmdets, expected, root):
    found = mmdets(str(root / 'images' / '1.png'), return_vis=True)
    (result,), (picture,) = found['predictions'], found['visualization']
    assert set(result) - {'masks'} == {'labels', 'scores', 'bboxes'}
    assert result['scores'] == expected[0].scores.tolist()
    assert picture.shape == (*SIZES[0], 3)
    for mask in result.get('masks', ()):
        assert mask['size'] == list(SIZES[0])


def test_the_functions_of_mmdet(files, expected, root):
    model = init_detector(*files, device='cpu')
    found = inference_detector(model, str(root / 'images' / '2.png'))
    assert torch.equal(found.pred_instances.scores, expected[1].scores)
