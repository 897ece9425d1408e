"""The same numbers as rfdetr 1.11.2, where it is not installed."""

import numpy as np
import pytest
import torch
from golden import (
    FILES,
    INPUTS,
    LOSS_SEED,
    MAX_BYTES,
    MAX_PER_IMG,
    ORIGINALS,
    REFRESH,
    RESOLUTION,
    ROOT,
    seeded_images,
    seeded_model,
    seeded_picture,
    seeded_targets,
)
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.structures import InstanceData
from PIL import Image

# In the order in which a model gives them
OUTPUTS = ('cls_scores', 'bbox_preds', 'mask_preds', 'keypoint_preds')


def read(name):
    path = FILES / f'{name}.npz'
    assert path.exists(), f'no golden file; write it with: {REFRESH}'
    assert path.stat().st_size <= MAX_BYTES
    numbers = {k: v for k, v in np.load(path).items()}
    assert numbers.pop('rfdetr') == '1.11.2'
    return {k: torch.from_numpy(v) for k, v in numbers.items()}


@pytest.fixture(scope='module', params=list(INPUTS))
def case(request):
    return request.param, seeded_model(request.param), read(request.param)


def close(actual, expected):
    torch.testing.assert_close(actual, expected, atol=2e-4, rtol=2e-4)


@torch.no_grad()
def test_evaluation(case):
    variant, model, expected = case
    model.eval()
    images = seeded_images(variant)
    outputs = model(images, mode='tensor')
    names = [name for name in OUTPUTS if name in expected]
    for name, output in zip(names, outputs, strict=True):
        close(output[-1], expected[name])
    corner = model.backbone(images)[-1][:, :8, :2, :3]
    close(corner, expected['last_map_corner'])
    model.backbone.norm.bias.data += 0.1
    wrong = model(images, mode='tensor')[0][-1]
    model.backbone.norm.bias.data -= 0.1
    with pytest.raises(AssertionError):
        close(wrong, expected['cls_scores'])


@torch.no_grad()
def test_post_processing(case):
    """Detections from upstream's own raw outputs, in original pixels."""
    variant, model, expected = case
    head = model.bbox_head
    head.test_cfg['max_per_img'] = MAX_PER_IMG
    input_hw = INPUTS[variant]
    metas = [
        dict(
            img_shape=input_hw,
            batch_input_shape=input_hw,
            ori_shape=(h, w),
            scale_factor=(input_hw[1] / w, input_hw[0] / h),
        )
        for h, w in ORIGINALS
    ]
    outputs = [expected[name][None] for name in OUTPUTS if name in expected]
    results = head.predict_by_feat(*outputs, metas, rescale=True)
    for i, ours in enumerate(results):
        assert torch.equal(ours.labels, expected['detected_labels'][i])
        close(ours.scores, expected['detected_scores'][i])
        close(ours.bboxes, expected['detected_boxes'][i])
        if 'keypoints' in ours:
            points = expected['detected_keypoints'][i]
            close(ours.keypoints, points[..., :2])
            close(ours.keypoint_scores, points[..., 2])
            torch.testing.assert_close(
                ours.keypoint_precision,
                expected['detected_keypoint_precision_cholesky'][i],
                equal_nan=True,
            )
        if 'masks' in ours:
            packed = torch.from_numpy(np.packbits(ours.masks.numpy()))
            assert torch.equal(packed, expected[f'detected_masks_{i}'])
    outputs[1] = outputs[1] + 0.01
    wrong = head.predict_by_feat(*outputs, metas, rescale=True)
    with pytest.raises(AssertionError):
        close(wrong[0].bboxes, expected['detected_boxes'][0])


def samples_for(variant, labels_shift=0):
    height, width = INPUTS[variant]
    samples = []
    for target in seeded_targets(variant):
        sample = DetDataSample(
            metainfo=dict(
                img_shape=(height, width), batch_input_shape=(height, width)
            )
        )
        centers, sizes = target['boxes'].split(2, dim=1)
        xyxy = torch.cat([centers - sizes / 2, centers + sizes / 2], dim=1)
        sample.gt_instances = InstanceData(
            bboxes=xyxy * torch.tensor([width, height] * 2),
            labels=(target['labels'] + labels_shift) % 5,
            masks=target['masks'],
            keypoints=target['keypoints'] * torch.tensor([width, height, 1]),
        )
        samples.append(sample)
    return samples


def training_numbers(model, variant, samples):
    """Our counterparts of the golden total_loss and grad_norms."""
    model.train()
    model.zero_grad()
    torch.manual_seed(LOSS_SEED)
    losses = model(seeded_images(variant), samples, mode='loss')
    total = sum(v for k, v in losses.items() if 'loss' in k)
    total.backward()
    norms = {
        name: 0.0 if p.grad is None else float(p.grad.norm())
        for name, p in model.named_parameters()
    }
    model.zero_grad()
    return total.detach(), torch.tensor([norms[k] for k in sorted(norms)])


def test_loss_and_gradients(case):
    variant, model, expected = case
    total, norms = training_numbers(model, variant, samples_for(variant))
    torch.testing.assert_close(
        total, expected['total_loss'], rtol=1e-4, atol=0
    )
    # A tiny gradient counts against the global norm, as in the design.
    tiny = 1e-6 * expected['grad_norms'].norm().item()
    torch.testing.assert_close(
        norms, expected['grad_norms'], rtol=1e-3, atol=tiny
    )


def test_another_class_is_noticed():
    """The negative control of the loss and the gradients."""
    variant, expected = 'nano', read('nano')
    total, norms = training_numbers(
        seeded_model(variant), variant, samples_for(variant, labels_shift=1)
    )
    assert (total / expected['total_loss'] - 1).abs() > 1e-4
    assert not torch.allclose(norms, expected['grad_norms'], rtol=1e-3)


def test_preparation(tmp_path):
    """From a file to pixels and to the input of the backbone."""
    expected = read('preparation')
    path = str(tmp_path / 'picture.png')
    Image.fromarray(seeded_picture()).save(path)
    config = Config.fromfile(ROOT / 'configs/rfdetr/rfdetr_nano_coco.py')
    load, resize, _, pack = config.test_dataloader.dataset.pipeline
    resize.scale = (RESOLUTION, RESOLUTION)

    def prepare(*steps):
        return Compose([*steps, pack])(dict(img_path=path, img_id=0))

    packed = prepare(load, resize)
    pixels = packed['inputs'].permute(1, 2, 0).flip(2)  # BGR to RGB
    assert torch.equal(pixels, expected['pixels'])
    inputs = MODELS.build(config.model.data_preprocessor)(
        {k: [v] for k, v in packed.items()}
    )['inputs']
    torch.testing.assert_close(
        inputs[0], expected['inputs'], atol=1e-6, rtol=0
    )
    by_cv2 = prepare(load, dict(type='Resize', scale=(RESOLUTION,) * 2))
    wrong = by_cv2['inputs'].permute(1, 2, 0).flip(2)
    assert (wrong.int() - expected['pixels'].int()).abs().max() > 1
