"""Inputs on which compiled mmcv and what stands in for it must agree.

A case calls mmcv's public function, so that the same code runs with either
extension. Numbers come from numpy's legacy generator, whose stream never
changes.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmcv import ops
from torch import Tensor

FILES = Path(__file__).parent / 'golden'
REFRESH = 'python tests/operators/refresh_golden.py'
MAX_BYTES = 50 * 1024
Case = Callable[[], list[Tensor]]


class Numbers:
    """Seeded tensors of one type."""

    def __init__(self, seed: int, dtype: torch.dtype = torch.float32):
        self.random = np.random.RandomState(seed)
        self.dtype = dtype

    def normal(self, *shape: int, scale: float = 1) -> Tensor:
        """From the normal distribution."""
        values = self.random.standard_normal(shape) * scale
        return torch.as_tensor(values, dtype=self.dtype)

    def uniform(self, *shape: int, high: float = 1) -> Tensor:
        """From 0 to ``high``."""
        values = self.random.uniform(0, high, shape)
        return torch.from_numpy(values).to(self.dtype)

    def boxes(self, count: int, size: float, side: float) -> Tensor:
        """(count, 4) xyxy, centres in a square, sides from 1."""
        centre = self.uniform(count, 2, high=size)
        half = self.uniform(count, 2, high=side) / 2 + 0.5
        return torch.cat([centre - half, centre + half], 1)

    def integers(self, count: int, high: int) -> Tensor:
        """(count,) int64 from 0 to high - 1."""
        return torch.from_numpy(self.random.randint(0, high, count)).long()


def with_gradients(function: Callable, *leaves: Tensor) -> list[Tensor]:
    """Its result, and the gradients for a seeded gradient of the result."""
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    result = function(*leaves)
    upstream = Numbers(7).normal(*result.shape).to(result)
    return [
        result.detach(),
        *torch.autograd.grad(result, leaves, upstream),
    ]


def box_cases() -> dict[str, Case]:
    """Suppression and overlap."""
    numbers = Numbers(0)
    boxes = numbers.boxes(80, 100, 40)
    scores = numbers.uniform(80)
    labels = numbers.integers(80, 4)
    flat = torch.zeros(5, 4)
    none, no_scores = torch.zeros(0, 4), torch.zeros(0)
    cases = {}
    for offset in (0, 1):
        for threshold in (0.1, 0.3, 0.5, 0.7):
            cases[f'nms_{threshold}_offset{offset}'] = (
                lambda t=threshold, o=offset: list(
                    ops.nms(boxes, scores, t, offset=o)
                )
            )
        for method in ('naive', 'linear', 'gaussian'):
            cases[f'soft_nms_{method}_offset{offset}'] = (
                lambda m=method, o=offset: list(
                    ops.soft_nms(
                        boxes, scores, 0.3, 0.5, 0.05, method=m, offset=o
                    )
                )
            )
        for mode in ('iou', 'iof'):
            for aligned in (False, True):
                second = boxes.flip(0) if aligned else boxes[:9]
                name = f'bbox_overlaps_{mode}_aligned{aligned}_offset{offset}'
                cases[name] = lambda b=second, m=mode, a=aligned, o=offset: [
                    ops.bbox_overlaps(boxes, b, m, a, o)
                ]
    rounded = boxes.round()
    cases |= {
        'nms_whole_pixels': lambda: list(ops.nms(rounded, scores, 0.3)),
        'nms_limited': lambda: list(
            ops.nms(boxes, scores, 0.5, score_threshold=0.3, max_num=7)
        ),
        'nms_no_boxes': lambda: list(ops.nms(none, no_scores, 0.5)),
        'nms_no_area': lambda: list(ops.nms(flat, torch.arange(5) / 5, 0.5)),
        'nms_overlap_at_threshold': overlap_at_threshold,
        'batched_nms': lambda: list(
            ops.batched_nms(
                boxes, scores, labels, dict(type='nms', iou_threshold=0.4)
            )
        ),
        'batched_soft_nms': lambda: list(
            ops.batched_nms(
                boxes,
                scores,
                labels,
                dict(type='soft_nms', iou_threshold=0.4, min_score=0.1),
            )
        ),
        'soft_nms_no_boxes': lambda: list(ops.soft_nms(none, no_scores, 0.5)),
        'soft_nms_no_area': lambda: list(
            ops.soft_nms(flat, torch.arange(5) / 5, 0.5)
        ),
        'soft_nms_equal_scores': lambda: list(
            ops.soft_nms(boxes, (scores * 8).round() / 8, 0.3, min_score=0.05)
        ),
        'nms_match': lambda: match(boxes, scores),
    }
    return cases


def overlap_at_threshold() -> list[Tensor]:
    """Overlaps of exactly 1/2, 3/10 and 7/10, as thresholds are given."""
    kept = []
    for part in (3, 5, 7):
        boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, part]]).float()
        kept.append(ops.nms(boxes, torch.tensor([0.9, 0.8]), part / 10)[1])
    return [torch.cat(kept)]


def match(boxes: Tensor, scores: Tensor) -> list[Tensor]:
    """The groups one after the other, and their lengths."""
    groups = ops.nms_match(torch.cat([boxes, scores[:, None]], 1), 0.4)
    return [torch.cat(groups), torch.tensor([len(g) for g in groups])]


def pooling_cases() -> dict[str, Case]:
    """RoIAlign."""
    cases = {}
    for dtype in (torch.float32, torch.float64):
        numbers = Numbers(1, dtype)
        features = numbers.normal(2, 3, 8, 11)
        # Some of them reach beyond the picture.
        boxes = numbers.boxes(6, 40, 30)
        images = numbers.integers(6, 2)[:, None].to(dtype)
        rois = torch.cat([images, boxes], 1)
        kind = str(dtype)[6:]
        for mode in ('avg', 'max'):
            for aligned in (True, False):
                for ratio in (0, 2):
                    name = f'roi_align_{kind}_{mode}_aligned{aligned}_{ratio}'
                    cases[name] = lambda f=features, r=rois, o=(
                        (3, 2),
                        0.25,
                        ratio,
                        mode,
                        aligned,
                    ): with_gradients(lambda x: ops.roi_align(x, r, *o), f)
        cases[f'roi_align_{kind}_no_rois'] = (
            lambda f=features, r=rois: with_gradients(
                lambda x: ops.roi_align(x, r[:0], 2, 0.25), f
            )
        )
    return cases


def convolution_cases(name: str) -> dict[str, Case]:
    """Deformable convolutions, 'plain' or 'modulated'."""
    cases = {}
    for dtype in (torch.float32, torch.float64):
        for group, deform_group, stride, padding, dilation in (
            (1, 1, 1, 1, 1),
            (1, 2, 2, 1, 1),
            (2, 1, (1, 2), (2, 1), (2, 1)),
            (2, 4, 1, 0, 1),
        ):
            if dtype == torch.float64 and group == 1:
                continue  # The files are to be small.
            numbers = Numbers(2, dtype)
            kernel = (3, 3) if group == 1 else (3, 2)
            features = numbers.normal(2, 4, 4, 5)
            weight = numbers.normal(4, 4 // group, *kernel, scale=0.3)
            options = (stride, padding, dilation, group, deform_group)
            size = torch.nn.functional.conv2d(
                features, weight, None, stride, padding, dilation, group
            ).shape[2:]
            samples = deform_group * kernel[0] * kernel[1]
            offset = numbers.normal(2, 2 * samples, *size, scale=1.5)
            mask = numbers.uniform(2, samples, *size)
            bias = numbers.normal(4)
            key = f'{str(dtype)[6:]}_{group}_{deform_group}'
            if name == 'plain':
                cases[key] = plain(features, offset, weight, options)
                continue
            inputs = (features, offset, mask, weight, bias)
            cases[key] = modulated(inputs, options)
            if group == 1:
                cases[f'{key}_no_bias'] = modulated(inputs[:4], options)
    return cases


def plain(
    features: Tensor, offset: Tensor, weight: Tensor, options: tuple
) -> Case:
    """Deformable convolution and its three gradients."""
    return lambda: with_gradients(
        lambda x, o, w: ops.deform_conv2d(x, o, w, *options),
        features,
        offset,
        weight,
    )


def modulated(inputs: tuple[Tensor, ...], options: tuple) -> Case:
    """The one with masks and its gradients; four inputs for no bias."""
    none = (None,) * (5 - len(inputs))
    return lambda: with_gradients(
        lambda *leaves: ops.modulated_deform_conv2d(*leaves, *none, *options),
        *inputs,
    )


TABLES = {
    'boxes': box_cases,
    'plain': partial(convolution_cases, 'plain'),
    'modulated': partial(convolution_cases, 'modulated'),
    'pooling': pooling_cases,
}
