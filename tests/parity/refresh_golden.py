"""Writes the golden files: what rfdetr computes from the seeded weights.

Run by ``make golden``; needs rfdetr 1.11.2.
"""

import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from golden import (
    FILES,
    INPUTS,
    LOSS_SEED,
    NUM_CLASSES,
    NUM_QUERIES,
    seeded_images,
    seeded_model,
    seeded_targets,
)
from oracle import build_upstream, nested, upstream_config

from rfdetr_mm.checkpoints import mmdet_to_upstream


def upstream_numbers(variant: str) -> dict[str, np.ndarray]:
    """Raw outputs of evaluation and loss terms of training."""
    from rfdetr.config import SegmentationTrainConfig, TrainConfig
    from rfdetr.models import build_criterion_from_config

    config = upstream_config(variant, NUM_CLASSES, NUM_QUERIES)
    model = build_upstream(config)
    weights = mmdet_to_upstream(seeded_model(variant).state_dict())[0]
    model.load_state_dict(weights)
    has_masks = variant.startswith('seg-')
    targets = seeded_targets(variant)
    if not has_masks:
        for target in targets:
            del target['masks']
    batch = nested(seeded_images(variant))
    with torch.no_grad():
        outputs = model.eval()(batch)
        maps = model.backbone[0].encoder(batch.tensors)
        train_config = SegmentationTrainConfig if has_masks else TrainConfig
        criterion, _ = build_criterion_from_config(
            config, train_config(dataset_dir='.')
        )
        predictions = model.train()(batch)
        torch.manual_seed(LOSS_SEED)
        losses = criterion.train()(
            predictions,
            [
                dict(t, orig_size=torch.tensor(INPUTS[variant]))
                for t in targets
            ],
        )
    weights = criterion.weight_dict
    numbers = {
        'cls_scores': outputs['pred_logits'][..., :-1],
        'bbox_preds': outputs['pred_boxes'],
        'last_map_corner': maps[-1][:, :8, :2, :3],
        'total_loss': sum(
            losses[k] * w for k, w in weights.items() if k in losses
        ),
    }
    if has_masks:
        numbers['mask_preds'] = outputs['pred_masks']
    return {k: v.numpy() for k, v in numbers.items()}


def main() -> None:
    FILES.mkdir(exist_ok=True)
    for variant in INPUTS:
        path = FILES / f'{variant}.npz'
        np.savez_compressed(
            path, rfdetr=version('rfdetr'), **upstream_numbers(variant)
        )
        print(f'{path}: {path.stat().st_size} bytes')


if __name__ == '__main__':
    main()
