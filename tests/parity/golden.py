"""Seeded weights and the numbers that rfdetr computed from them.

Weights come from numpy's legacy generator, whose stream never changes, one
seed for each key, so that no weights have to be stored.
"""

import zlib
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

import rfdetr_mm  # noqa: F401  registers the modules

ROOT = Path(__file__).parents[2]
FILES = Path(__file__).parent / 'golden'
REFRESH = 'make golden'
MAX_BYTES = 50 * 1024
NUM_CLASSES = 5
NUM_QUERIES = 12
LOSS_SEED = 5  # of the random points in masks
MAX_PER_IMG = 20  # more than queries: several classes of one query
ORIGINALS = [(24, 50), (60, 37)]  # H x W of the images in pixels
RESOLUTION = 32  # px, of the prepared picture
# variant: H x W of the input in pixels
INPUTS = {
    'nano': (64, 96),
    'small': (64, 96),
    'medium': (64, 96),
    'large': (64, 96),
    'base': (56, 112),
    'large-deprecated': (56, 112),
    'xlarge': (80, 100),
    '2xlarge': (80, 120),
    'seg-nano': (48, 60),
    'pose-preview': (48, 96),
}
NUM_KEYPOINTS = (3, 0, 5, 2, 0)  # of the classes of pose-preview


def seeded_model(variant: str) -> nn.Module:
    """Our model of a variant with reproducible weights."""
    init_default_scope('mmdet')
    path = f'rfdetr/rfdetr_{variant}_coco.py'
    if variant.startswith('seg-'):
        path = f'rfdetr_seg/rfdetr-seg_{variant[4:]}_coco.py'
    if variant.startswith('pose-'):
        path = f'rfdetr_pose/rfdetr-pose_{variant[5:]}_coco.py'
    config = Config.fromfile(ROOT / 'configs' / path).model
    config.bbox_head.num_classes = NUM_CLASSES
    config.bbox_head.num_queries = NUM_QUERIES
    if variant.startswith('pose-'):
        config.bbox_head.num_keypoints = NUM_KEYPOINTS
    model = MODELS.build(config)
    for key, value in model.state_dict().items():
        if value.is_floating_point():  # not a schema of keypoints
            value.copy_(_seeded(key, tuple(value.shape)))
    return model


def _seeded(key: str, shape: tuple[int, ...]) -> Tensor:
    random = np.random.RandomState(zlib.crc32(key.encode()))
    values = random.standard_normal(shape)
    if 'norm' in key or 'layer_scale' in key:
        values = 0.05 * values + float(key.endswith('weight'))
    elif len(shape) > 1:
        values /= np.sqrt(np.prod(shape[1:]))
    else:
        values *= 0.05
    return torch.from_numpy(values.astype(np.float32))


def seeded_images(variant: str) -> Tensor:
    """Two normalised images, H != W."""
    random = np.random.RandomState(7)
    images = random.standard_normal((2, 3, *INPUTS[variant]))
    return torch.from_numpy(images.astype(np.float32))


def seeded_picture() -> np.ndarray:
    """A smooth picture, H != W, RGB levels of shape (h, w, 3)."""
    random = np.random.RandomState(3)
    coarse = random.randint(0, 256, (6, 9, 3)).astype(float)
    fine = np.kron(coarse, np.ones((9, 8, 1)))
    fine += random.randint(-20, 21, fine.shape)
    return fine.clip(0, 255).astype(np.uint8)


def seeded_targets(variant: str) -> list[dict[str, Tensor]]:
    """Objects of both images (none in the second), cxcywh normalised.

    Their masks are the cells whose centres are in the box; their keypoints
    are anywhere, as many as the largest class has.
    """
    random = np.random.RandomState(9)
    centers = random.uniform(0.3, 0.7, (3, 2))
    sizes = random.uniform(0.1, 0.4, (3, 2))
    boxes = np.concatenate([centers, sizes], axis=1).astype(np.float32)
    height, width = INPUTS[variant]
    y = (np.arange(height)[:, None] + 0.5) / height
    x = (np.arange(width) + 0.5) / width
    masks = [
        (abs(x - cx) < w / 2) & (abs(y - cy) < h / 2) for cx, cy, w, h in boxes
    ]
    keypoints = random.uniform(0.2, 0.8, (3, max(NUM_KEYPOINTS), 3))
    keypoints[..., 2] = random.randint(0, 3, keypoints.shape[:2])
    return [
        dict(
            labels=torch.tensor([0, 3, 4]),
            boxes=torch.from_numpy(boxes),
            masks=torch.from_numpy(np.stack(masks)),
            keypoints=torch.from_numpy(keypoints.astype(np.float32)),
        ),
        dict(
            labels=torch.empty(0).long(),
            boxes=torch.empty(0, 4),
            masks=torch.empty(0, height, width, dtype=torch.bool),
            keypoints=torch.empty(0, max(NUM_KEYPOINTS), 3),
        ),
    ]
