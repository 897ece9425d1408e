"""mmdet's detectors train a step and predict on the stand-in."""

import copy
from pathlib import Path

import mmdet
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.structures import InstanceData

SIZE = 64  # px
CONFIGS = Path(mmdet.__file__).parent / '.mim' / 'configs'
# Detector: config, and what makes it small.
DETECTORS = {
    'faster_rcnn': 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    'mask_rcnn': 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    'retinanet': 'retinanet/retinanet_r18_fpn_1x_coco.py',
    'rtmdet': 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
    'dino': 'dino/dino-4scale_r50_8xb2-12e_coco.py',
    'deformable_detr': (
        'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py'
    ),
    'dcn_v1': 'dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py',
    'dcn_v2': 'dcnv2/faster-rcnn_r50-mdconv-c3-c5_fpn_1x_coco.py',
    'carafe': 'carafe/faster-rcnn_r50_fpn-carafe_1x_coco.py',
    'reppoints': ('reppoints/reppoints-moment_r50_fpn_1x_coco.py'),
    'guided_anchoring': 'guided_anchoring/ga-retinanet_r50_fpn_1x_coco.py',
    'deformable_pooling': 'dcn/faster-rcnn_r50_fpn_dpool_1x_coco.py',
}


def small(config):
    """The model with an eighth of the channels, fewer layers and queries."""
    model = copy.deepcopy(config.model)
    model.backbone.init_cfg = None  # It would be downloaded.
    if model.backbone.type == 'ResNet':
        model.backbone.base_channels = 8
        first = model.neck[0] if isinstance(model.neck, list) else model.neck
        first.in_channels = [c // 8 for c in first.in_channels]
    # Torch has its synchronised one on a GPU only.
    for part in ('backbone', 'neck', 'bbox_head'):
        norm = isinstance(model.get(part), dict) and model[part].get(
            'norm_cfg'
        )
        if norm:
            norm.type = norm.type.replace('SyncBN', 'BN')
    if 'encoder' in model:
        model.encoder.num_layers = model.decoder.num_layers = 1
        model.num_queries = 20
    if 'roi_head' in model:
        model.test_cfg.rpn.update(nms_pre=50, max_per_img=10)
        model.train_cfg.rpn_proposal.update(nms_pre=50, max_per_img=20)
        model.train_cfg.rcnn.sampler.num = 16
    return model


def samples(masked):
    """Two images, one of them without objects; boxes, classes, masks."""
    result = []
    for boxes in ([[8.0, 8, 40, 30], [20, 24, 60, 60]], []):
        sample = DetDataSample(
            metainfo=dict(
                img_shape=(SIZE, SIZE),
                ori_shape=(SIZE, SIZE),
                batch_input_shape=(SIZE, SIZE),
                pad_shape=(SIZE, SIZE),
                scale_factor=(1.0, 1.0),
                img_id=0,
            )
        )
        masks = torch.zeros(len(boxes), SIZE, SIZE, dtype=torch.uint8)
        masks[:, 10:30, 10:30] = 1
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor(boxes).view(-1, 4),
            labels=torch.arange(len(boxes)),
        )
        if masked:
            sample.gt_instances.masks = BitmapMasks(masks.numpy(), SIZE, SIZE)
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        )
        result.append(sample)
    return result


@pytest.mark.parametrize('name', DETECTORS)
def test_step_and_prediction(name):
    torch.manual_seed(0)
    model = MODELS.build(small(Config.fromfile(CONFIGS / DETECTORS[name])))
    model.init_weights()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    images = torch.randn(2, 3, SIZE, SIZE)
    model.train()
    losses = model.loss(images, samples(name == 'mask_rcnn'))
    total = sum(
        torch.as_tensor(value).sum()
        for key, values in losses.items()
        if 'loss' in key
        for value in (values if isinstance(values, list) else [values])
    )
    assert total.isfinite() and total > 0
    total.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(gradients) > 20
    assert all(gradient.isfinite().all() for gradient in gradients)
    optimizer.step()
    model.eval()
    # One by one: mmcv's masked convolution takes a single image.
    with torch.no_grad():
        found = [
            model.predict(images[i : i + 1], [sample], rescale=True)[0]
            for i, sample in enumerate(samples(False))
        ]
    for sample in found:
        assert sample.pred_instances.bboxes.isfinite().all()
        assert len(sample.pred_instances) <= 300
