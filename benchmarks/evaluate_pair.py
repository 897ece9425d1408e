"""The AP of this package's model and of rfdetr's by one evaluator."""

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import METRICS
from mmdet.structures import SampleList
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn
from training_pair import upstream_batch

MAX_DETECTIONS = 100  # per image, as COCO has it


@dataclass(frozen=True)
class AveragePrecision:
    """AP and AP50 in points (0 to 100), not rounded."""

    ap: float
    ap50: float


def evaluate_ours(
    model: nn.Module, cfg: Config, folder: Path
) -> AveragePrecision:
    """Evaluate our model on the validation split.

    Args:
        model: The model.
        cfg: See ``training_pair.our_config``.
        folder: For temporary files.

    Returns:
        The AP.
    """
    return _evaluate(model.eval().val_step, cfg, folder)


def evaluate_upstream(
    module: Any, cfg: Config, folder: Path, preprocess: Callable
) -> AveragePrecision:
    """Evaluate rfdetr's model, with rfdetr's own post-processing.

    Detections of the spare class row are left out: no object has that class.

    Args:
        module: rfdetr's Lightning module.
        cfg: See ``training_pair.our_config``.
        folder: For temporary files.
        preprocess: Our data preprocessor, which normalises the images.

    Returns:
        The AP.
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
) -> AveragePrecision:
    loader = Runner.build_dataloader(cfg.val_dataloader, seed=0)
    prefix = folder / 'detections'
    metric = METRICS.build(
        dict(cfg.val_evaluator, format_only=True, outfile_prefix=str(prefix))
    )
    metric.dataset_meta = loader.dataset.metainfo
    for batch in loader:
        samples = [sample.to_dict() for sample in detect(batch)]
        metric.process(batch, samples)
    metric.evaluate(len(loader.dataset))
    found = json.loads(Path(f'{prefix}.bbox.json').read_text())
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        truth = COCO(cfg.val_evaluator.ann_file)
        evaluation = COCOeval(truth, truth.loadRes(found), 'bbox')
        evaluation.params.maxDets = [1, 10, MAX_DETECTIONS]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ap, ap50 = evaluation.stats[:2]
    return AveragePrecision(100 * float(ap), 100 * float(ap50))
