"""Writes the golden files: what rfdetr computes from the seeded weights.

Run by ``make golden``; needs rfdetr 1.11.2. Names of files as arguments
choose some of them.
"""

import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from golden import (
    FILES,
    INPUTS,
    LOSS_SEED,
    MAX_PER_IMG,
    NUM_CLASSES,
    NUM_KEYPOINTS,
    NUM_QUERIES,
    ORIGINALS,
    RESOLUTION,
    seeded_images,
    seeded_model,
    seeded_picture,
    seeded_targets,
)
from oracle import build_upstream, convert, nested, upstream_config
from PIL import Image
from torch import Tensor, nn

from rfdetr_mm.checkpoints import mmdet_to_upstream


def upstream_numbers(variant: str) -> dict[str, np.ndarray]:
    """Raw outputs, detections, and loss and gradients of a variant."""
    given = {}
    if variant.startswith('pose-'):
        given = dict(num_keypoints_per_class=list(NUM_KEYPOINTS))
    config = upstream_config(variant, NUM_CLASSES, NUM_QUERIES, **given)
    model = build_upstream(config)
    weights = mmdet_to_upstream(seeded_model(variant).state_dict())[0]
    model.load_state_dict(weights)
    return {
        **evaluation_numbers(variant, model),
        **training_numbers(variant, model, config),
    }


@torch.no_grad()
def evaluation_numbers(
    variant: str, model: nn.Module
) -> dict[str, np.ndarray]:
    """Raw outputs, and the detections that upstream makes of them."""
    from rfdetr.models.postprocess import PostProcess

    batch = nested(seeded_images(variant))
    outputs = model.eval()(batch)
    maps = model.backbone[0].encoder(batch.tensors)
    numbers = {
        'cls_scores': outputs['pred_logits'][..., :-1],
        'bbox_preds': outputs['pred_boxes'],
        'last_map_corner': maps[-1][:, :8, :2, :3],
    }
    given = {}
    if 'pred_keypoints' in outputs:
        numbers['keypoint_preds'] = outputs['pred_keypoints']
        given = dict(num_keypoints_per_class=list(NUM_KEYPOINTS))
    detections = PostProcess(num_select=MAX_PER_IMG, **given)(
        outputs, torch.tensor(ORIGINALS)
    )
    names = ['scores', 'labels', 'boxes']
    if given:
        names += ['keypoints', 'keypoint_precision_cholesky']
    for name in names:
        numbers[f'detected_{name}'] = torch.stack(
            [d[name] for d in detections]
        )
    numbers = {k: v.numpy() for k, v in numbers.items()}
    if 'pred_masks' in outputs:
        numbers['mask_preds'] = outputs['pred_masks'].numpy()
        for i, detected in enumerate(detections):
            numbers[f'detected_masks_{i}'] = np.packbits(
                detected['masks'][:, 0].numpy()
            )
    return numbers


def training_numbers(
    variant: str, model: nn.Module, config: object
) -> dict[str, np.ndarray]:
    """The weighted loss and the norm of each parameter's gradient."""
    losses = upstream_losses(variant, model, config)
    losses.backward()
    gradients = {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in model.named_parameters()
    }
    ours = convert({**model.state_dict(), **gradients})
    names = sorted(
        name for name, _ in seeded_model(variant).named_parameters()
    )
    return {
        'total_loss': losses.detach().numpy(),
        'grad_norms': torch.stack([ours[n].norm() for n in names]).numpy(),
    }


def upstream_losses(variant: str, model: nn.Module, config: object) -> Tensor:
    """The sum of upstream's loss terms, each times its weight."""
    from rfdetr.config import (
        KeypointTrainConfig,
        SegmentationTrainConfig,
        TrainConfig,
    )
    from rfdetr.models import build_criterion_from_config

    task = variant.partition('-')[0]
    train_config = {
        'seg': SegmentationTrainConfig,
        'pose': KeypointTrainConfig,
    }.get(task, TrainConfig)
    criterion, _ = build_criterion_from_config(
        config, train_config(dataset_dir='.')
    )
    targets = seeded_targets(variant)
    for target in targets:
        target['orig_size'] = torch.tensor(INPUTS[variant])
        if task != 'seg':
            del target['masks']
        if task != 'pose':
            del target['keypoints']
    predictions = model.train()(nested(seeded_images(variant)))
    torch.manual_seed(LOSS_SEED)
    losses = criterion.train()(predictions, targets)
    weights = criterion.weight_dict
    return sum(losses[k] * w for k, w in weights.items() if k in losses)


def preparation_numbers() -> dict[str, np.ndarray]:
    """The picture as upstream's validation resizes and normalises it."""
    from rfdetr.datasets.coco import make_coco_transforms_square_div_64
    from rfdetr.datasets.io_utils import decode_pil_image

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'picture.png'
        Image.fromarray(seeded_picture()).save(path)
        image, _ = decode_pil_image(path)
    transforms = make_coco_transforms_square_div_64('val', RESOLUTION)
    resized, _ = transforms.transforms[0](image, {})
    return {
        'pixels': np.array(resized),
        'inputs': transforms(image, {})[0].numpy(),
    }


def write(name: str, numbers: dict[str, np.ndarray]) -> None:
    """Write one golden file."""
    path = FILES / f'{name}.npz'
    np.savez_compressed(path, rfdetr=version('rfdetr'), **numbers)
    print(f'{path.name}: {path.stat().st_size} bytes')


def main() -> None:
    FILES.mkdir(exist_ok=True)
    for name in sys.argv[1:] or ['preparation', *INPUTS]:
        is_variant = name in INPUTS
        write(
            name,
            upstream_numbers(name) if is_variant else preparation_numbers(),
        )


if __name__ == '__main__':
    main()
