"""The AP of this package's model and of rfdetr's by one evaluator."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from export_parity import AveragePrecision
from mmdet.structures import SampleList
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import nn
from training_pair import upstream_batch


def evaluate_ours(
    model: nn.Module, cfg: Config, folder: Path
) -> dict[str, float]:
    """Evaluate our model on the validation split.

    Args:
        model: The model.
        cfg: See ``training_pair.our_config``.
        folder: Folder for temporary files.

    Returns:
        ``ap`` and ``ap50`` in points (0 to 100), not rounded.
    """
    return _evaluate(model.eval().val_step, cfg, folder)


def evaluate_upstream(
    module: Any, cfg: Config, folder: Path, preprocess: Callable
) -> dict[str, float]:
    """Evaluate rfdetr's model, with rfdetr's own post-processing.

    Detections of the spare class row are left out: no object has that class.

    Args:
        module: rfdetr's Lightning module.
        cfg: See ``training_pair.our_config``.
        folder: Folder for temporary files.
        preprocess: Our data preprocessor, which normalises the images.

    Returns:
        ``ap`` and ``ap50`` in points (0 to 100), not rounded.
    """
    num_classes = cfg.model.bbox_head.num_classes
    module.eval()

    def detect(batch: dict[str, Any]) -> SampleList:
        batch = preprocess(batch)
        samples = batch['data_samples']
        images, _ = upstream_batch(batch)
        sizes = torch.tensor([sample.ori_shape for sample in samples])
        found = module.postprocess(module.model(images), sizes)
        for sample, one in zip(samples, found):
            known = one['labels'] < num_classes
            sample.pred_instances = InstanceData(
                bboxes=one['boxes'][known],
                scores=one['scores'][known],
                labels=one['labels'][known],
            )
        return samples

    return _evaluate(detect, cfg, folder)


@torch.no_grad()
def _evaluate(
    detect: Callable[[dict[str, Any]], SampleList], cfg: Config, folder: Path
) -> dict[str, float]:
    loader = Runner.build_dataloader(cfg.val_dataloader, seed=0)
    dataset = loader.dataset
    precision = AveragePrecision(
        cfg.val_evaluator, dataset.metainfo, folder, 'detections'
    )
    for batch in loader:
        precision.add(batch, detect(batch))
    ids = [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))]
    ap, ap50 = precision.statistics(ids)['bbox'][:2]
    return dict(ap=ap, ap50=ap50)
