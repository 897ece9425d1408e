"""Exported files where mmdet expects models: metrics and inferencers."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData
from torch import nn

from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.config_facts import RESIZE, set_pipeline_size
from rfdetr_mm.sizes.data_sets import innermost_datasets
from rfdetr_mm.sizes.shipped import read_config_of
from rfdetr_mm_light import sizes
from rfdetr_runtime import Detections, ExportedModel
from rfdetr_runtime.facts import DETECTION, INSTANCE_SEG, KEYPOINTS

from .recipe import fill_in_data
from .report import (
    check_report,
    keep_results,
    metric_of,
    report_evaluation,
    speed_of,
)
from .train_config import make_train_config
from .training import find_data

# A file's task to that of the sizes, whose configs say how it is evaluated
_TASKS = {
    DETECTION: sizes.DETECTION,
    INSTANCE_SEG: sizes.SEGMENTATION,
    KEYPOINTS: sizes.KEYPOINTS,
}
_MAX_BATCH = 8


def evaluate_file(
    model: ExportedModel,
    split: str,
    dataset_dir: str | os.PathLike[str],
    report: str | os.PathLike[str] | None = None,
    against: str | os.PathLike[str] | None = None,
    test: Callable[[int, BaseDataset, Evaluator], dict[str, float]]
    | None = None,
    **kwargs: Any,
) -> dict[str, float]:
    """Evaluate an exported file on a data set by COCO's metrics.

    Images are read, resized and normalised by the file's own predict(); the
    classes of the data set are found by the names of the file's.

    Args:
        model: The loaded file.
        split: ``'val'`` or ``'test'``.
        dataset_dir: The folder of the data set.
        report: Folder for a report.
        against: Folder of an earlier report to show beside it.
        test: What evaluates instead of this process, such as a
            :class:`~rfdetr_mm.apis.evaluation_on_ray.RayEvaluation`: a
            function of the number of images at once, the data set and the
            metrics.
        **kwargs: Fields of
            :class:`~rfdetr_mm.apis.train_config.TrainConfig`.

    Returns:
        mmdet's name of a metric, such as ``'coco/bbox_mAP'``, to its value.

    Raises:
        InputError: If the file does not name its classes, an argument is
            unknown, or the data set cannot be used or has other classes.
    """
    if not model.class_names:
        raise InputError(
            f'{model.file} does not name its classes, by which those of the '
            'data set are found: export the model again'
        )
    earlier = None if report is None else check_report(report, against)
    train = make_train_config(
        {**kwargs, 'dataset_dir': dataset_dir}, 'rfdetr-mm val'
    )
    train.class_names = model.class_names
    register_all_modules(init_default_scope=True)
    cfg = config_of_file(model)
    fill_in_data(cfg, train)
    find_data(cfg, only=split)
    evaluator = cfg[f'{split}_evaluator']
    if report is not None:
        keep_results(evaluator)
    dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
    evaluator = Evaluator(evaluator)
    evaluator.dataset_meta = dataset.metainfo
    batch_size = model.batch_size or _MAX_BATCH
    metrics = (test or partial(_evaluate, model))(
        batch_size, dataset, evaluator
    )
    if report is not None:
        name, where = Path(model.file).name, Path(dataset_dir).resolve().name
        image = dataset.get_data_info(0)['img_path']
        report_evaluation(
            metric_of(evaluator),
            dataset,
            report,
            f'{name} on {where}, {split}',
            earlier,
            speed_of(lambda file: model.predict(file), image, 'the runtime'),
        )
    return {name: float(value) for name, value in metrics.items()}


def config_of_file(model: ExportedModel) -> Config:
    """Read a config of the file's task, with its image size and its kernel.

    Args:
        model: The loaded file.

    Returns:
        The config; its model is not the file's.
    """
    task = _TASKS[model.task]
    size = next(size for size in sizes.SIZES.values() if size.task is task)
    cfg = read_config_of(size)
    for inner in innermost_datasets(cfg.test_dataloader.dataset):
        set_pipeline_size(inner.pipeline, model.input_hw, stretch=True)
        for step in inner.pipeline:
            if step['type'] == RESIZE:
                step['kernel'] = model.facts.resize_kernel
    return cfg


class ExportedDetector(nn.Module):
    """An exported file behind the part of a detector that inferencers use.

    Args:
        model: The loaded file.
        palette: The colours for painting, as in mmdet's visualizer.
    """

    data_preprocessor = None  # the file's own code normalises

    def __init__(self, model: ExportedModel, palette: str) -> None:
        super().__init__()
        self.file = model
        classes = tuple(model.class_names)
        self.dataset_meta = dict(classes=classes, palette=palette)

    def test_step(self, data: dict[str, list]) -> list[DetDataSample]:
        """Detect objects.

        Args:
            data: ``inputs``, BGR pictures of the file's size from 0 to 255,
                shape (3, h_px, w_px) each, and their ``data_samples``.

        Returns:
            The data samples with ``pred_instances``, in pixels of the
            original images.
        """
        pictures = [x.numpy().transpose(1, 2, 0) for x in data['inputs']]
        # They have the size already, so that resizing leaves them as they are.
        images = [self.file.prepare(bgr[..., ::-1]) for bgr in pictures]
        samples = data['data_samples']
        found = self.file.detect(
            np.stack(images), [sample.ori_shape[:2] for sample in samples]
        )
        for sample, detections in zip(samples, found, strict=True):
            sample.pred_instances = _instances(detections)
        return samples


def _evaluate(
    model: ExportedModel,
    batch_size: int,
    dataset: BaseDataset,
    evaluator: Evaluator,
) -> dict[str, float]:
    for infos in _batches(dataset, batch_size):
        results = model.predict([info['img_path'] for info in infos], 0.0)
        evaluator.process(
            [data_sample(*pair) for pair in zip(infos, results, strict=True)]
        )
    return evaluator.evaluate(len(dataset))


def _batches(dataset: BaseDataset, size: int) -> Iterator[list[dict]]:
    for start in range(0, len(dataset), size):
        numbers = range(start, min(start + size, len(dataset)))
        yield [dataset.get_data_info(number) for number in numbers]


def data_sample(info: dict[str, Any], found: Detections) -> DetDataSample:
    """Detections as mmdet's metrics take them.

    Args:
        info: What the data set says of the image.
        found: Detections with ``metadata['source_image']``.
    """
    shape = found.metadata['source_image'].shape[:2]
    meta = dict(
        img_id=info['img_id'], img_path=info['img_path'], ori_shape=shape
    )
    return DetDataSample(metainfo=meta, pred_instances=_instances(found))


def _instances(found: Detections) -> InstanceData:
    instances = InstanceData(
        bboxes=torch.from_numpy(found.xyxy),
        scores=torch.from_numpy(found.confidence),
        labels=torch.from_numpy(found.class_id),
    )
    if found.mask is not None:
        instances.masks = torch.from_numpy(found.mask)
    if KEYPOINTS in found.data:
        points = torch.from_numpy(found.data[KEYPOINTS])
        instances.keypoints = points[..., :2]
        instances.keypoint_scores = points[..., 2]
    return instances
