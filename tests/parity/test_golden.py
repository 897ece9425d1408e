"""The same numbers as rfdetr 1.11.2, where it is not installed."""

import numpy as np
import pytest
import torch
from golden import (
    FILES,
    INPUTS,
    LOSS_SEED,
    MAX_BYTES,
    REFRESH,
    seeded_images,
    seeded_model,
    seeded_targets,
)
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData


@pytest.fixture(scope='module', params=list(INPUTS))
def case(request):
    path = FILES / f'{request.param}.npz'
    assert path.exists(), f'no golden file; write it with: {REFRESH}'
    assert path.stat().st_size <= MAX_BYTES
    numbers = {k: v for k, v in np.load(path).items()}
    assert numbers.pop('rfdetr') == '1.11.2'
    numbers = {k: torch.from_numpy(v) for k, v in numbers.items()}
    return request.param, seeded_model(request.param), numbers


def close(actual, expected):
    torch.testing.assert_close(actual, expected, atol=2e-4, rtol=2e-4)


@torch.no_grad()
def test_evaluation(case):
    variant, model, expected = case
    model.eval()
    images = seeded_images(variant)
    outputs = model(images, mode='tensor')
    names = ['cls_scores', 'bbox_preds', 'mask_preds'][: len(outputs)]
    assert set(names) == {*expected} - {'last_map_corner', 'total_loss'}
    for name, output in zip(names, outputs):
        close(output[-1], expected[name])
    corner = model.backbone(images)[-1][:, :8, :2, :3]
    close(corner, expected['last_map_corner'])
    model.backbone.norm.bias.data += 0.1
    wrong = model(images, mode='tensor')[0][-1]
    model.backbone.norm.bias.data -= 0.1
    with pytest.raises(AssertionError):
        close(wrong, expected['cls_scores'])


@torch.no_grad()
def test_total_loss(case):
    variant, model, expected = case
    model.train()
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
            labels=target['labels'],
            masks=target['masks'],
        )
        samples.append(sample)
    torch.manual_seed(LOSS_SEED)
    losses = model(seeded_images(variant), samples, mode='loss')
    total = sum(v for k, v in losses.items() if 'loss' in k)
    torch.testing.assert_close(
        total, expected['total_loss'], rtol=1e-4, atol=0
    )
