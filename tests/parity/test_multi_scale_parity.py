"""Multi-scale training against rfdetr: sizes, draws, pixels, padding."""

from types import SimpleNamespace

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData

from rfdetr_mm.models.data_preprocessors import (
    BatchMultiScaleResize,
    multi_scale_sizes,
)

pytest.importorskip('rfdetr')

VARIANTS = [  # image size, patch size, windows per side
    (384, 16, 2),
    (512, 16, 2),
    (576, 16, 2),
    (704, 16, 2),
    (560, 14, 4),
    (700, 20, 1),
    (880, 20, 2),
    (312, 12, 1),
    (432, 12, 2),
    (64, 16, 2),
]


@pytest.mark.parametrize('expanded', [True, False])
@pytest.mark.parametrize('variant', VARIANTS)
def test_sizes_are_equal(variant, expanded):
    from rfdetr.datasets.coco import compute_multi_scale_scales

    img_size, patch_size, num_windows = variant
    expected = compute_multi_scale_scales(
        img_size, expanded, patch_size, num_windows
    )
    sizes = multi_scale_sizes(img_size, patch_size, num_windows, expanded)
    assert sizes == [(side, side) for side in expected]


def upstream_batch(inputs, mask, step: int):
    """Let upstream's hook resize a batch at a global step."""
    pytest.importorskip('pytorch_lightning')
    from rfdetr.config import MultiScale
    from rfdetr.training.module_model import RFDETRModelModule

    module = SimpleNamespace(
        train_config=SimpleNamespace(
            multi_scale=MultiScale.PER_BATCH, expanded_scales=True
        ),
        model_config=SimpleNamespace(
            resolution=64, patch_size=8, num_windows=2
        ),
        trainer=SimpleNamespace(global_step=step),
    )
    samples = SimpleNamespace(tensors=inputs, mask=mask)
    RFDETRModelModule.on_train_batch_start(module, (samples, None), 0)
    return samples.tensors, samples.mask


def test_batches_are_equal():
    shapes = [(144, 144), (70, 101), (33, 144)]
    inputs = torch.randn(3, 3, 144, 144)
    mask = torch.ones(3, 144, 144, dtype=torch.bool)
    for one, (height, width) in zip(mask, shapes):
        one[:height, :width] = False
    resize = BatchMultiScaleResize(64, 8, 2)
    for step in range(30):
        samples = []
        for height, width in shapes:
            sample = DetDataSample(
                metainfo=dict(img_shape=(height, width), pad_shape=(144, 144))
            )
            sample.gt_instances = InstanceData(bboxes=torch.rand(1, 4))
            samples.append(sample)
        MessageHub.get_current_instance().update_info('iter', step)
        resized, samples = resize(inputs, samples)
        expected, expected_mask = upstream_batch(inputs, mask, step)
        assert torch.equal(resized, expected)
        for one, sample in zip(expected_mask, samples):
            height, width = sample.img_shape
            assert not one[:height, :width].any()
            assert one.sum() == one.numel() - height * width
