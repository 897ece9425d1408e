"""Inferencers, and what is built on them, take exported files."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image
from toy_onnx import CLASSES, FACTS, write_toy

from rfdetr_mm.apis import RFDETRInferencer, SlicedInferencer
from rfdetr_mm.apis.video import annotate_video
from rfdetr_mm.errors import InputError
from rfdetr_runtime import load

pytest.importorskip('onnxruntime')
PICTURE = np.random.default_rng(0).integers(0, 256, (48, 70, 3), np.uint8)


@pytest.mark.parametrize('kernel', ['predict', 'validation'])
@pytest.mark.parametrize('batch', [1, 'batch'])
def test_the_same_as_the_file_itself(tmp_path, kernel, batch):
    facts = dict(FACTS, resize_kernel=kernel)
    file = write_toy(tmp_path / 'a.onnx', seg=True, batch=batch, facts=facts)
    Image.fromarray(PICTURE).save(tmp_path / 'a.png')
    inferencer = RFDETRInferencer(file, show_progress=False)
    assert inferencer.model.dataset_meta['classes'] == CLASSES
    images = [str(tmp_path / 'a.png'), PICTURE[:30, :, ::-1]]
    found = inferencer(images, batch_size=2, return_datasamples=True)
    expected = load(file).predict([PICTURE, PICTURE[:30]], 0.0)
    for sample, detections in zip(found['predictions'], expected):
        instances = sample.pred_instances
        np.testing.assert_allclose(
            instances.bboxes, detections.xyxy, atol=1e-4
        )
        np.testing.assert_allclose(
            instances.scores, detections.confidence, atol=1e-6
        )
        assert (instances.masks.numpy() == detections.mask).all()
        assert sample.ori_shape == detections.mask.shape[1:]


def test_keypoints_are_painted_and_written(tmp_path):
    file = write_toy(tmp_path / 'a.onnx', pose=True)
    Image.fromarray(0 * PICTURE).save(tmp_path / 'a.png')
    inferencer = RFDETRInferencer(file, show_progress=False)
    found = inferencer(
        str(tmp_path / 'a.png'),
        out_dir=str(tmp_path / 'out'),
        pred_score_thr=0.0,
        no_save_pred=False,
    )
    (written,) = (tmp_path / 'out/preds').glob('*.json')
    content = json.loads(written.read_text())
    expected = load(file).predict(0 * PICTURE, 0.0).data['keypoints']
    assert content == found['predictions'][0]
    assert [len(points) for points in content['keypoints'][:2]] == [2, 1]
    np.testing.assert_allclose(content['keypoints'][0], expected[0], atol=1e-4)
    picture = np.asarray(Image.open(tmp_path / 'out/vis/a.png'))
    x, y, _ = content['keypoints'][0][0]
    dot = picture[round(y), round(x)].astype(int)
    assert dot[0] > dot[2] + 100  # of the first keypoint, red
    with pytest.raises(InputError, match='slices are not supported with key'):
        SlicedInferencer(str(file), show_progress=False)


def test_slices_and_videos(tmp_path):
    file = write_toy(tmp_path / 'a.onnx')
    sliced = SlicedInferencer(str(file), patch_size=32, show_progress=False)
    found = sliced(PICTURE, return_datasamples=True)['predictions'][0]
    assert len(found.pred_instances) > 2
    writer = cv2.VideoWriter(
        str(tmp_path / 'a.mp4'), cv2.VideoWriter_fourcc(*'mp4v'), 5, (70, 48)
    )
    for _ in range(3):
        writer.write(PICTURE)
    writer.release()
    plain = RFDETRInferencer(str(file), show_progress=False)
    assert annotate_video(plain, tmp_path / 'a.mp4', tmp_path / 'out') == 3
    assert len(list((tmp_path / 'out').iterdir())) == 3


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(weights='a.pth'), 'leave weights='),
        (dict(resolution=64), 'exported for images of'),
        (dict(resolution=(6, 4)), 'exported for images of'),
        (dict(device='cuda:0'), 'no device'),
    ],
)
def test_options_that_are_the_files(tmp_path, options, message):
    file = write_toy(tmp_path / 'a.onnx')
    with pytest.raises(InputError, match=message):
        RFDETRInferencer(str(file), **options)
