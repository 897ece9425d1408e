"""Runs of trainings and evaluations, from complete configs."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from rfdetr_mm.checkpoints import atomic_file
from rfdetr_mm.datasets import resolve_own_data
from rfdetr_mm.engine.running import build_runner
from rfdetr_mm.errors import InputError
from rfdetr_mm.evaluation.analysis import sweep_of
from rfdetr_mm.evaluation.scenes import scenes_of
from rfdetr_mm_light.interrupts import note_training

from .model_config import ModelConfig
from .report import keep_results, metric_of
from .train_config import TrainConfig

BEST_FILE = 'checkpoint_best_total.pth'
CONFIG_FILE = 'training_config.json'


def find_data(cfg: Config, only: str | None = None) -> str:
    """Fill in the data set of a config, see :func:`resolve_own_data`.

    Args:
        cfg: The config, changed in place.
        only: 'val' or 'test', if this split alone is needed.

    Returns:
        What was found, lines of text.

    Raises:
        InputError: If there is no folder given, or it cannot be used.
    """
    if not cfg.data_root:
        raise InputError(
            'dataset_dir is missing: give the folder of a data set in the '
            'layout of Roboflow, COCO or YOLO'
        )
    return resolve_own_data(cfg, only)


def run_training(cfg: Config, device: str | None, found: str) -> Path:
    """Train, and keep the best weights under a name of their own.

    Args:
        cfg: The complete config.
        device: The device that is trained on; None for that of this process
            of a distributed training.
        found: What is logged about the data set.

    Returns:
        The file of the best weights: averaged ones, unless the average was
        turned off or was worse.

    Raises:
        InputError: If the training diverged in every epoch; no file of best
            weights is written then.
    """
    note_training(cfg.work_dir, bool(cfg.get('resume')))
    runner = build_runner(cfg, device)
    runner.logger.info(found)
    runner.train()
    best = _best_checkpoint(runner)
    target = Path(runner.work_dir, BEST_FILE)
    if is_main_process():
        with open(best, 'rb') as source, atomic_file(target) as file:
            while chunk := source.read(1 << 20):
                file.write(chunk)
    runner.logger.info(f'The best weights, {best.name}, are in {target}.')
    return target


def _best_checkpoint(runner: Runner) -> Path:
    """The file with the best metric; without validation the last one.

    Raises:
        InputError: If no validation found weights that can be used.
    """
    hub = runner.message_hub
    info = hub.runtime_info
    scores = {
        key.replace('best_score', 'best_ckpt', 1): value
        for key, value in info.items()
        if key.startswith('best_score')
    }
    for key in sorted(scores, key=scores.get, reverse=True):
        path = Path(info.get(key, ''))
        if path.is_file():
            return path
    last = info.get('last_ckpt')
    was_validated = any(name.startswith('val/') for name in hub.log_scalars)
    if last is None or (not scores and was_validated):
        raise InputError(
            'no epoch of this training has weights that can be used: weights '
            'or detections were not finite, so the training diverged and '
            f'{BEST_FILE} is not written. Train again with a smaller learning '
            'rate (lr, lr_encoder) or in float32 (amp_dtype=None); the last '
            f'good checkpoint is {last or "none"}.'
        )
    return Path(last)


def write_training_config(
    train: TrainConfig,
    model: ModelConfig,
    class_names: Sequence[str],
    class_name: str,
) -> None:
    """Write what a training was started with, in the main process only.

    Args:
        train: The configuration of the training.
        model: The configuration of the model.
        class_names: The class names of the data set.
        class_name: The name of the model's class.
    """
    if not is_main_process():
        return
    content = dict(
        train_config=dataclasses.asdict(train),
        model_config=dataclasses.asdict(model),
        model_config_type=class_name,
        class_names=list(class_names),
        num_classes=len(class_names),
    )
    text = json.dumps(content, indent=2, default=str)
    with atomic_file(Path(train.output_dir, CONFIG_FILE)) as file:
        file.write(text.encode())


def best_f1(runner: Runner, of_classes: bool) -> dict[str, float]:
    """Find the threshold with the best F1 of an evaluation.

    Args:
        runner: It has evaluated, and its metric has kept the results.
        of_classes: Whether to give the same for each class.

    Returns:
        ``coco/F1``, ``coco/precision``, ``coco/recall`` and
        ``coco/threshold``, of masks or keypoints where the model has them;
        nothing if the metric cannot say. With ``of_classes`` also
        ``coco/F1/NAME`` and the like.

    Source: the rule of rfdetr 1.11.2, evaluation/f1_sweep.py.
    """
    try:
        metric = metric_of(runner.test_evaluator)
    except InputError:  # another one, by cfg_options
        return {}
    dataset = runner.test_dataloader.dataset
    scene = scenes_of(metric, metric.kept, dataset)[-1]
    sweep = sweep_of(scene)
    renamed = dict(f1='F1')
    found = {
        f'coco/{renamed.get(name, name)}': value
        for name, value in sweep.best().items()
    }
    if of_classes:
        for label, best in zip(scene.classes, sweep.best_of_classes()):
            for name, value in best.items():
                found[f'coco/{renamed.get(name, name)}/{label}'] = value
    return found


def run_evaluation(
    cfg: Config,
    device: str,
    weights: Mapping[str, Any],
    split: str,
    train: TrainConfig,
    report: Callable[[Runner], None] | None = None,
    test: Callable[[Runner], dict[str, float]] = Runner.test,
) -> dict[str, float]:
    """Evaluate weights on a split of a data set.

    Args:
        cfg: The complete config.
        device: The device that is computed on.
        weights: State dict of the model.
        split: ``'val'`` or ``'test'``.
        train: What is wanted of the metrics.
        report: Called with the Runner after the evaluation; its metric has
            then kept the results.
        test: What runs the evaluation.

    Returns:
        Metric to value, mmdet's names, and those of :func:`best_f1`.
    """
    if split == 'val':
        cfg.test_dataloader = cfg.val_dataloader
        cfg.test_evaluator = cfg.val_evaluator
        # The losses are those that were asked for of this split.
        loop = dict(type='TestLoop')
        if cfg.val_cfg.get('with_loss'):
            loop = dict(type='LossTestLoop', prefix='val/')
        cfg.test_cfg = loop
    keep_results(cfg.test_evaluator)
    cfg.load_from = None
    runner = build_runner(cfg, device)
    runner.model.load_state_dict(weights)
    metrics = {name: float(value) for name, value in test(runner).items()}
    if is_main_process():
        metrics.update(best_f1(runner, train.log_per_class_metrics))
    if report is not None:
        report(runner)
    return metrics
