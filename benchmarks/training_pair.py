"""One training on both sides: by this package's Runner and by rfdetr itself.

``train_ours`` runs mmengine's Runner with a shipped config; it keeps the
batches. ``train_upstream`` plays them to rfdetr's Lightning module under
rfdetr's own trainer. Needs ``pip install "rfdetr[train]==1.11.2"``.
"""

import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault('CUDA_VISIBLE_DEVICES', '')  # both sides on the CPU

from clone import ROOT  # noqa: E402
from run_config import stop  # noqa: E402

# isort: split
import torch  # noqa: E402
from mmdet.registry import DATASETS  # noqa: E402
from mmdet.structures.bbox import bbox_xyxy_to_cxcywh  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.hooks import EMAHook, Hook  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from upstream import (  # noqa: E402
    build_module,
    model_config,
    training_batch,
)

from rfdetr_mm.checkpoints import upstream_to_mmdet  # noqa: E402
from rfdetr_mm.datasets import resolve_own_data  # noqa: E402
from rfdetr_mm.sizes.config_facts import set_resolution  # noqa: E402

LIMITS = {'float64': 1e-6, 'float32': 1e-5}  # relative; float32: first loss
AP_LIMIT = 0.5  # points
AUGMENTATIONS = ('RandomApply', 'RandomFlip')

StateDict = dict[str, Tensor]


def _option(default: Any, help: str) -> Any:
    return field(default=default, metadata=dict(help=help))


@dataclass(frozen=True)
class Setup:
    """What both trainings have in common; all else is each side's default.

    The fields with a description are options of compare_training.py.

    Args:
        data: Folder of the data set.
        variant: Model size, one of
            ``upstream.DETECTION_VARIANTS``.
        schedule: ``'step'`` or ``'cosine'``.
        double: Whether to compute in float64.
    """

    data: Path
    variant: str = 'nano'
    schedule: str = 'cosine'
    double: bool = True
    image_size: int = _option(192, 'side of the square input in pixels')
    num_queries: int = _option(100, 'queries of a group')
    num_groups: int = _option(5, 'groups of queries')
    batch_size: int = _option(4, 'images per step')
    steps: int = _option(30, 'optimizer steps in all')
    epochs: int = _option(2, 'epochs that they make up')
    warmup: float = _option(0.5, 'epochs of linear warm-up')
    seed: int = _option(0, 'of the weights and of the order of the images')

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch."""
        return self.steps // self.epochs


@dataclass
class Training:
    """What a training has left behind.

    Args:
        side: The name of who trained.
        steps: The number of all steps, for the progress.
        losses: Weighted total of each step.
        rates: Learning rate of neck and head at each step.
        start: Weights before the first step, under our names.
        weights: Weights after the last step, under our names.
        averages: Their moving average, under our names.
        began: When it began, by ``time.perf_counter``.
    """

    side: str
    steps: int
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    start: StateDict = field(default_factory=dict)
    weights: StateDict = field(default_factory=dict)
    averages: StateDict = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)

    def add(self, loss: Tensor) -> None:
        """Keep the loss of a step and say it."""
        self.losses.append(loss.item())
        step = len(self.losses)
        seconds = time.perf_counter() - self.began
        print(
            f'{self.side}: step {step}/{self.steps}, '
            f'loss {self.losses[-1]:.10g}, {seconds / step:.1f} s per step',
            flush=True,
        )


def loss_errors(ours: Training, other: Training) -> list[float]:
    """Relative difference of the losses of each step."""
    return [
        abs(mine - theirs) / abs(theirs)
        for mine, theirs in zip(ours.losses, other.losses, strict=True)
    ]


def tensor_errors(ours: StateDict, other: StateDict) -> dict[str, float]:
    """Norm of the difference over the norm, of each tensor."""
    if ours.keys() != other.keys():
        raise ValueError(
            f'other tensors: {sorted(ours.keys() ^ other.keys())}'
        )
    errors = {}
    for name, value in other.items():
        distance = (ours[name] - value).norm()
        errors[name] = float(distance / value.norm()) if distance else 0.0
    return errors


@dataclass
class Comparison:
    """Two trainings, and what is too far apart.

    Args:
        setup: What they have in common.
        ours: This package's.
        upstream: rfdetr's.
        noisy: rfdetr's from slightly other weights, if asked for.
        precision: ``ap`` and ``ap50`` of both sides before and after, in
            points, if asked for.
    """

    setup: Setup
    ours: Training
    upstream: Training
    noisy: Training | None = None
    precision: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def limit(self) -> float:
        """Largest relative difference that passes."""
        return LIMITS['float64' if self.setup.double else 'float32']

    def failures(self) -> list[str]:
        """Say in one sentence each what is too far apart."""
        found = []
        start = tensor_errors(self.ours.start, self.upstream.start)
        if any(start.values()):
            found.append('the weights differ before the first step')
        losses = loss_errors(self.ours, self.upstream)
        judged = losses if self.setup.double else losses[:1]
        if not max(judged) <= self.limit:  # also if it is not a number
            step = judged.index(max(judged)) + 1
            found.append(
                f'the losses of step {step} differ by {max(judged):.2g}, '
                f'allowed are {self.limit:g}'
            )
        errors = tensor_errors(self.ours.averages, self.upstream.averages)
        name = max(errors, key=errors.get)
        if self.setup.double and not errors[name] <= self.limit:
            found.append(
                f'the averages of {name} differ by {errors[name]:.2g}, '
                f'allowed are {self.limit:g}'
            )
        if self.precision:
            distance = abs(
                self.precision['rfdetr_mm, after']['ap']
                - self.precision['rfdetr, after']['ap']
            )
            if not distance <= AP_LIMIT:
                found.append(
                    f'the APs differ by {distance:.2f} points, allowed are '
                    f'{AP_LIMIT}'
                )
        return found


def our_config(
    setup: Setup, weights: Path, work_dir: Path, options: dict | None = None
) -> Config:
    """The shipped config of own data, with the sizes of the setup.

    Args:
        setup: The setup.
        weights: File to start from, of either layout.
        work_dir: Folder for logs.
        options: Further changes, as of ``--cfg-options``.

    Returns:
        The config, complete, without augmentation.
    """
    name = f'rfdetr_{setup.variant}_custom.py'
    cfg = Config.fromfile(ROOT / 'configs' / 'rfdetr' / name)
    cfg.data_root = str(setup.data)
    resolve_own_data(cfg)
    set_resolution(cfg, setup.image_size)
    cfg.model.bbox_head.num_queries = setup.num_queries
    cfg.model.bbox_head.num_groups = setup.num_groups
    cfg.model.test_cfg.max_per_img = setup.num_queries
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.batch_size = setup.batch_size
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.pipeline = [
            step
            for step in loader.dataset.pipeline
            if step.type not in AUGMENTATIONS
        ]
    _take_first_images(cfg, setup)
    kind = {'step': 'WarmupStepLR', 'cosine': 'WarmupCosineLR'}
    cfg.param_scheduler = [
        dict(
            type=kind[setup.schedule],
            convert_to_iter_based=True,
            warmup=setup.warmup,
        )
    ]
    cfg.train_cfg.max_epochs = setup.epochs
    cfg.default_hooks.checkpoint = None
    cfg.load_from = str(weights)
    cfg.work_dir = str(work_dir)
    cfg.randomness = dict(seed=setup.seed)
    cfg.log_level = 'WARNING'
    # mmengine keeps loggers and visualizers by their names.
    cfg.experiment_name = f'compare_{uuid.uuid4().hex}'
    cfg.visualizer.update(name=cfg.experiment_name, vis_backends=[])
    cfg.merge_from_dict(options or {})
    return cfg


def _take_first_images(cfg: Config, setup: Setup) -> None:
    """Cut the training set to as many images as an epoch has."""
    dataset = cfg.train_dataloader.dataset
    size = len(DATASETS.build(dict(dataset, pipeline=[])))
    wanted = setup.steps_per_epoch * setup.batch_size
    if size < wanted:
        stop(
            f'{setup.steps} steps in {setup.epochs} epochs of batches of '
            f'{setup.batch_size} need {wanted} training images, {setup.data} '
            f'has {size}: raise --epochs or lower --steps or --batch-size'
        )
    dataset.indices = wanted


class RecordHook(Hook):
    """Keeps batches, losses, rates and weights of a training.

    Args:
        double: Whether to turn the model and the boxes into float64.
        steps: Steps of the training, for the progress.
    """

    priority = 'VERY_HIGH'  # before EMAHook copies the model

    def __init__(self, double: bool, steps: int) -> None:
        self.double = double
        self.training = Training('rfdetr_mm', steps)
        self.batches: list[dict[str, Any]] = []

    def before_run(self, runner: Runner) -> None:
        """Choose the precision."""
        if self.double:
            runner.model.double()

    def before_train(self, runner: Runner) -> None:
        """Keep the weights that were loaded."""
        self.training.start = _copied(runner.model.state_dict())

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Keep the batch and the learning rate."""
        if self.double:
            for sample in data_batch['data_samples']:
                instances = sample.gt_instances
                instances.bboxes = instances.bboxes.to(torch.float64)
        self.batches.append(data_batch)
        self.training.rates.append(_highest_rate(runner.optim_wrapper))

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Keep the loss."""
        self.training.add(outputs['loss'])


def train_ours(
    cfg: Config, setup: Setup
) -> tuple[Training, list[dict[str, Any]], nn.Module]:
    """Train by mmengine's Runner.

    Args:
        cfg: See :func:`our_config`.
        setup: The setup.

    Returns:
        The results; the batches, as the data loader gave them; the model.
    """
    cfg = Config(dict(cfg.to_dict()))
    cfg.update(val_dataloader=None, val_cfg=None, val_evaluator=None)
    cfg.update(test_dataloader=None, test_cfg=None, test_evaluator=None)
    record = RecordHook(setup.double, setup.steps)
    runner = Runner.from_cfg(cfg)
    runner.register_hook(record)
    runner.train()
    average = next(h for h in runner.hooks if isinstance(h, EMAHook))
    training = record.training
    training.weights = _copied(runner.model.state_dict())
    training.averages = _copied(average.ema_model.module.state_dict())
    return training, record.batches, runner.model


class _Replay:
    """Data loader of one epoch's batches after another, in upstream's form."""

    def __init__(
        self,
        batches: list[dict[str, Any]],
        steps_per_epoch: int,
        preprocess: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> None:
        self._batches = map(
            lambda batch: upstream_batch(preprocess(batch)), batches
        )
        self._steps_per_epoch = steps_per_epoch

    def __len__(self) -> int:
        return self._steps_per_epoch

    def __iter__(self) -> Iterator[tuple]:
        return islice(self._batches, self._steps_per_epoch)


def upstream_batch(batch: dict[str, Any]) -> tuple[Any, list[StateDict]]:
    """The same images and objects as rfdetr's model and criterion take them.

    Args:
        batch: From a data preprocessor: ``inputs`` (bs, 3, h, w) and
            ``data_samples`` with boxes (x1, y1, x2, y2) in pixels.

    Returns:
        The nested tensor and one target per image, boxes normalised
        (cx, cy, w, h).
    """
    samples = batch['data_samples']
    objects = []
    for sample in samples:
        height, width = sample.img_shape
        boxes = bbox_xyxy_to_cxcywh(sample.gt_instances.bboxes)
        boxes = boxes / boxes.new_tensor([width, height, width, height])
        objects.append((boxes, sample.gt_instances.labels))
    sizes = [sample.ori_shape for sample in samples]
    return training_batch(batch['inputs'], objects, sizes)


def upstream_module(setup: Setup, num_classes: int, folder: Path) -> Any:
    """Build rfdetr's Lightning module, random weights off any symmetry.

    Args:
        setup: The setup.
        num_classes: Classes of the data set.
        folder: Folder for what rfdetr may want to write.

    Returns:
        The module; its spare class row is dead (weight 0, bias -20).
    """
    patch_size = model_config(setup.variant).patch_size
    config = model_config(
        setup.variant,
        num_classes=num_classes,
        num_queries=setup.num_queries,
        num_select=setup.num_queries,
        group_detr=setup.num_groups,
        resolution=setup.image_size,
        positional_encoding_size=setup.image_size // patch_size,
    )
    module = build_module(
        config,
        seed=setup.seed,
        dataset_dir=str(setup.data),
        output_dir=str(folder),
        batch_size=setup.batch_size,
        epochs=setup.epochs,
        warmup_epochs=setup.warmup,
        lr_scheduler=setup.schedule,
        tensorboard=False,
    )
    return module.double() if setup.double else module


def train_upstream(
    module: Any,
    batches: list[dict[str, Any]],
    preprocess: Callable[[dict[str, Any]], dict[str, Any]],
    setup: Setup,
    side: str = 'rfdetr',
) -> Training:
    """Train by rfdetr's own trainer, module and EMA callback.

    Args:
        module: See :func:`upstream_module`; trained in place and left with
            the averaged weights.
        batches: The batches of :func:`train_ours`.
        preprocess: Our data preprocessor, which normalises the images.
        setup: The setup.
        side: Name for the progress.

    Returns:
        The results.
    """
    from pytorch_lightning import Callback
    from rfdetr.training.callbacks.ema import RFDETREMACallback
    from rfdetr.training.trainer import build_trainer

    training = Training(side, setup.steps)

    class Record(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            training.start = _our_names(pl_module.model)

        def on_train_batch_start(
            self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
        ) -> None:
            training.rates.append(_highest_rate(trainer.optimizers[0]))

        def on_train_batch_end(
            self,
            trainer: Any,
            pl_module: Any,
            outputs: Any,
            batch: Any,
            batch_idx: int,
        ) -> None:
            training.add(outputs['loss'])

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            training.weights = _our_names(pl_module.model)

    config = module.train_config
    average = RFDETREMACallback(
        decay=config.ema_decay,
        tau=config.ema_tau,
        update_interval_steps=config.ema_update_interval,
    )
    logging.getLogger('pytorch_lightning').setLevel(logging.ERROR)
    trainer = build_trainer(
        config,
        module.model_config,
        accelerator='cpu',
        include_training_callbacks=False,
        # Before its last hook the average replaces the weights.
        callbacks=[Record(), average],
        precision='64-true' if setup.double else '32-true',
        enable_model_summary=False,
    )
    torch.set_float32_matmul_precision('highest')
    loader = _Replay(batches, setup.steps_per_epoch, preprocess)
    module.train()
    trainer.fit(module, train_dataloaders=loader)
    training.averages = _our_names(module.model)
    return training


def _our_names(upstream: nn.Module) -> StateDict:
    return _copied(upstream_to_mmdet(upstream.state_dict())[0])


def _copied(state_dict: StateDict) -> StateDict:
    return {name: value.cpu().clone() for name, value in state_dict.items()}


def _highest_rate(optimizer: Any) -> float:
    return max(group['lr'] for group in optimizer.param_groups)
