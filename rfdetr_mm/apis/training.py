"""Train and evaluate by mmengine's Runner, within this process."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from rfdetr_mm.checkpoints import atomic_file
from rfdetr_mm.datasets import resolve_own_data
from rfdetr_mm.engine.running import build_runner
from rfdetr_mm.errors import InputError

from .model_config import ModelConfig
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
    if not Path(cfg.data_root).is_dir():
        raise InputError(
            f'dataset_dir has to be the folder of a data set, and there is no '
            f'folder {cfg.data_root!r} (seen from {Path.cwd()})'
        )
    return resolve_own_data(cfg, only)


def run_training(cfg: Config, device: str, found: str) -> Path:
    """Train, and keep the best weights under a name of their own.

    Args:
        cfg: The complete config.
        device: That is trained on.
        found: What is logged about the data set.

    Returns:
        The file of the best weights: averaged ones, unless the average was
        turned off or was worse.
    """
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
    """The file with the best metric; without validation the last one."""
    info = runner.message_hub.runtime_info
    scores = {
        key.replace('best_score', 'best_ckpt', 1): value
        for key, value in info.items()
        if key.startswith('best_score')
    }
    for key in sorted(scores, key=scores.get, reverse=True):
        path = Path(info.get(key, ''))
        if path.is_file():
            return path
    return Path(info['last_ckpt'])


def write_training_config(
    train: TrainConfig,
    model: ModelConfig,
    class_names: Sequence[str],
    class_name: str,
) -> None:
    """Write what a training was started with, in the main process only.

    Args:
        train: Its configuration.
        model: Of the model.
        class_names: Of the data set.
        class_name: Of the model's class.
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


def run_evaluation(
    cfg: Config, device: str, weights: Mapping[str, Any], split: str
) -> dict[str, float]:
    """Evaluate weights on a split of a data set.

    Args:
        cfg: The complete config.
        device: That is computed on.
        weights: State dict of the model.
        split: ``'val'`` or ``'test'``.

    Returns:
        Metric to value, mmdet's names.
    """
    if split == 'val':
        cfg.test_dataloader = cfg.val_dataloader
        cfg.test_evaluator = cfg.val_evaluator
    cfg.load_from = None
    runner = build_runner(cfg, device)
    runner.model.load_state_dict(weights)
    metrics = runner.test()
    return {name: float(value) for name, value in metrics.items()}
