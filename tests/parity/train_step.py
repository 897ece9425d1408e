"""One training step of both models on the same batch."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from compare import decode_upstreams_rows, selection_scores
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from oracle import NUM_CLASSES, NUM_KEYPOINTS, Pair, convert, nested
from torch import Tensor

from rfdetr_mm.models.dense_heads import RFDETRHead
from rfdetr_mm.models.dense_heads.head_outputs import HeadOutputs

# Ours to upstream's, each times upstream's weight.
TERMS = {
    'loss_cls': 'loss_ce',
    'loss_bbox': 'loss_bbox',
    'loss_iou': 'loss_giou',
}
MASK_TERMS = {'loss_mask': 'loss_mask_ce', 'loss_dice': 'loss_mask_dice'}
KEYPOINT_TERMS = {
    f'loss_keypoint_{name}': f'loss_keypoints_{name}'
    for name in ('l1', 'findable', 'visible', 'nll')
}
TERMS_OF_TASK = {
    'detection': TERMS,
    'instance segmentation': {**TERMS, **MASK_TERMS},
    'keypoint': {**TERMS, **KEYPOINT_TERMS},
}
SEED = 17  # of the random points, the same for both


def targets_for(
    images: Tensor,
    counts: tuple[int, ...],
    seed: int = 0,
    task: str = 'detection',
) -> tuple[list[dict], list[DetDataSample]]:
    """Random objects: upstream's targets and our data samples."""
    generator = torch.Generator().manual_seed(seed)
    height, width = images.shape[-2:]
    theirs, ours = [], []
    for count in counts:
        labels = torch.randint(NUM_CLASSES, (count,), generator=generator)
        centers = torch.rand(count, 2, generator=generator) * 0.6 + 0.2
        sizes = torch.rand(count, 2, generator=generator) * 0.3 + 0.05
        boxes = torch.cat([centers, sizes], dim=1).to(images.dtype)
        theirs.append(
            dict(
                labels=labels,
                boxes=boxes,
                orig_size=torch.tensor([height, width]),
            )
        )
        scale = torch.tensor([width, height] * 2)
        xyxy = bbox_cxcywh_to_xyxy(boxes)
        sample = DetDataSample(
            metainfo=dict(
                batch_input_shape=(height, width),
                img_shape=(height, width),
            )
        )
        sample.gt_instances = InstanceData(bboxes=xyxy * scale, labels=labels)
        if task == 'keypoint':
            keypoints = _keypoints(boxes, generator)
            theirs[-1]['keypoints'] = keypoints
            sample.gt_instances.keypoints = keypoints * torch.tensor(
                [width, height, 1]
            )
        if task == 'instance segmentation':
            masks = _ellipses(boxes, height, width)
            theirs[-1]['masks'] = masks
            sample.gt_instances.masks = BitmapMasks(
                masks.numpy().astype(np.uint8), height, width
            )
        ours.append(sample)
    return theirs, ours


def _keypoints(boxes: Tensor, generator: torch.Generator) -> Tensor:
    """Some not labelled, some hidden; the last object has none at all."""
    shape = (len(boxes), max(NUM_KEYPOINTS))
    shifts = torch.rand(*shape, 2, generator=generator).to(boxes) - 0.5
    places = boxes[:, None, :2] + shifts * boxes[:, None, 2:]
    visibility = torch.randint(3, (*shape, 1), generator=generator)
    visibility[-1:] = 0
    keypoints = torch.cat([places, visibility.to(boxes)], dim=-1)
    return keypoints * (visibility > 0)


def _ellipses(boxes: Tensor, height: int, width: int) -> Tensor:
    """Filled ellipses with a wedge cut out, shape (n, height, width)."""
    y, x = torch.meshgrid(
        (torch.arange(height) + 0.5) / height,
        (torch.arange(width) + 0.5) / width,
        indexing='ij',
    )
    cx, cy, w, h = boxes[:, :, None, None].unbind(1)
    dx, dy = 2 * (x - cx) / w, 2 * (y - cy) / h
    return (dx**2 + dy**2 <= 1) & ~((dx > 0.1) & (dy.abs() < 0.4 * dx))


def upstream_losses(
    pair: Pair, outputs: dict, targets: list[dict]
) -> tuple[dict, dict]:
    """Upstream's weighted loss terms, and what it only logs."""
    criterion = upstream_criterion(pair)
    torch.manual_seed(SEED)
    losses = criterion(outputs, targets)
    weights = criterion.weight_dict
    return {k: v * weights[k] for k, v in losses.items() if k in weights}, {
        k: v for k, v in losses.items() if k not in weights
    }


def upstream_criterion(pair: Pair) -> torch.nn.Module:
    from rfdetr.models import build_criterion_from_config

    criterion, _ = build_criterion_from_config(
        pair.upstream_config, upstream_train_config(pair)
    )
    return criterion.train()


def upstream_train_config(pair: Pair) -> object:
    """Upstream's defaults for the task of a pair."""
    from rfdetr.config import (
        KeypointTrainConfig,
        SegmentationTrainConfig,
        TrainConfig,
    )

    config = {
        'detection': TrainConfig,
        'instance segmentation': SegmentationTrainConfig,
        'keypoint': KeypointTrainConfig,
    }[pair.ours.bbox_head.task]
    return config(dataset_dir='.')


@contextmanager
def in_float64(pair: Pair) -> Iterator[Pair]:
    """Both models in float64, and the same random points for masks.

    In float32 rounding alone moves single gradients by 1e-3 where a sampling
    point crosses into the next cell, and with it the most uncertain points.
    Upstream's likelihood of keypoints stays in float32.
    """
    pair.upstream.double(), pair.ours.double()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            'rfdetr.models.criterion._sample_target_masks_at_points',
            _sample_targets_in_float64,
        )
        torch.set_default_dtype(torch.float64)  # of the random points
        try:
            yield pair
        finally:
            torch.set_default_dtype(torch.float32)
            pair.upstream.float(), pair.ours.float()


def _sample_targets_in_float64(targets, indices, points):
    """Upstream's own function takes points of float32 alone."""
    from rfdetr.models.heads.segmentation import point_sample

    masks = torch.cat([t['masks'][j] for t, (_, j) in zip(targets, indices)])
    masks = masks.unsqueeze(1).to(points.dtype)
    return point_sample(masks, points, mode='nearest').squeeze(1)


def our_losses(head: RFDETRHead, outs: HeadOutputs, samples) -> dict:
    torch.manual_seed(SEED)
    return head.loss_by_feat(
        outs,
        [s.gt_instances for s in samples],
        [s.metainfo for s in samples],
    )


def expected_names(head: RFDETRHead) -> dict[str, str]:
    """Our names of upstream's loss terms."""
    names = {}
    for ours, theirs in TERMS_OF_TASK[head.task].items():
        names[ours] = theirs
        names[f'enc_{ours}'] = f'{theirs}_enc'
        for i in range(len(head.decoder.layers) - 1):
            names[f'd{i}.{ours}'] = f'{theirs}_{i}'
    return names


def outputs_of(head: RFDETRHead, outs: HeadOutputs) -> dict:
    """Our head's outputs in upstream's form, for upstream's criterion."""
    layers = []
    for layer in head._supervised_layers(outs).values():
        # upstream's spare class: a column that can never fire
        spare = torch.full_like(layer.cls_scores[..., :1], -20.0)
        layers.append(
            dict(
                pred_logits=torch.cat([layer.cls_scores, spare], dim=-1),
                pred_boxes=layer.bbox_preds,
            )
        )
        if layer.masks is not None:
            layers[-1]['pred_masks'] = dict(
                spatial_features=layer.masks.mask_features,
                query_features=layer.masks.query_features,
                bias=layer.masks.bias,
            )
        if layer.keypoints is not None:
            layers[-1]['pred_keypoints'] = head._padded(layer.keypoints)
    last, *earlier, proposals = layers
    return dict(last, aux_outputs=earlier, enc_outputs=proposals)


def run_step(
    pair: Pair, dtype: torch.dtype, counts: tuple[int, ...] = (3, 0, 5)
) -> dict:
    """One forward and backward of both models on the same batch."""
    pair.train(True)
    images = pair.images(seed=11, bs=len(counts)).to(dtype)
    head = pair.ours.bbox_head
    theirs, samples = targets_for(images, counts, task=head.task)

    pair.upstream.zero_grad()
    outputs = pair.upstream(nested(images))
    terms, logged = upstream_losses(pair, outputs, theirs)
    sum(terms.values()).backward()
    grads = {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in pair.upstream.named_parameters()
    }

    pair.ours.zero_grad()
    outs = decode_upstreams_rows(
        head,
        pair.ours.extract_feat(images),
        samples,
        head.num_groups,
        selection_scores(pair.upstream, outputs['enc_outputs']),
    )
    losses = our_losses(head, outs, samples)
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    result = dict(
        pair=pair,
        outputs=outputs,
        terms=terms,
        logged=logged,
        their_grads=convert({**pair.upstream.state_dict(), **grads}),
        outs=outs,
        losses=losses,
        our_grads={n: p.grad for n, p in pair.ours.named_parameters()},
        targets=theirs,
        samples=samples,
    )
    pair.upstream.zero_grad()
    pair.ours.zero_grad()
    return result
