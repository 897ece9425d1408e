"""What can be chosen about a training, under upstream's names."""

import dataclasses
import json
import math
import os
import sys
import warnings
from collections.abc import Mapping
from typing import Any

from rfdetr_mm.datasets.layouts import LAYOUTS
from rfdetr_mm.errors import InputError

from .elsewhere import DEPRECATED, ELSEWHERE, NEVER_SAVED
from .model_config import ModelConfig, refuse_unknown
from .optimizers import (
    MANAGED,
    as_path,
    optimizer_config,
    schedule_configs,
)

MULTI_SCALE = ('per-batch', 'per-sample', 'off')
AMP_DTYPES = ('auto', 'bf16', 'fp16', None)
INTERVALS = ('step', 'epoch')
ACCELERATORS = ('auto', 'cpu', 'gpu', 'cuda', 'mps')
STRATEGIES = ('auto', 'ddp', 'fsdp')
EVALUATORS = (None, 'vernier')
BEST_METRICS = ('map', 'mar')

KEYPOINT_TERMS = ('l1', 'findable', 'visible', 'nll')
"""Parts of the loss of keypoints."""


@dataclasses.dataclass
class TrainConfig:
    """One training, with the defaults of rfdetr 1.11.2 unless marked.

    Args:
        dataset_dir: Folder of the data set, in Roboflow's, COCO's, YOLO's or
            the flat layout.
        dataset_file: Its layout, ``'auto'`` (default here) to detect it.
        class_names: Classes to be learnt; those of the data set if None.
        output_dir: Folder for checkpoints, logs and ``training_config.json``.
        epochs: How often all images are seen.
        batch_size: Images per batch, or ``'auto'`` to try what fits.
        eval_batch_size: Images per batch in validation.
        grad_accum_steps: Batches per step of the optimizer.
        auto_batch_target_effective: Images per step that ``'auto'`` aims at.
        lr: Learning rate of neck and head.
        lr_encoder: Learning rate of the encoder's last block.
        lr_vit_layer_decay: Factor of that rate from block to block.
        lr_component_decay: Factor for decoder and, squared, encoder.
        weight_decay: AdamW's weight decay.
        clip_max_norm: Largest norm of the gradients; 0 for no limit.
        lr_scheduler: ``'step'`` or ``'cosine'``, or one of
            torch.optim.lr_scheduler by name, path, class or partial.
        lr_scheduler_kwargs: Its arguments.
        lr_scheduler_interval: ``'step'`` or ``'epoch'``: when one of torch's
            moves on.
        lr_scheduler_monitor: Metric that ``ReduceLROnPlateau`` watches.
        optimizer: ``'adamw'`` or another one of torch.optim, a path, a class
            or a partial.
        optimizer_kwargs: Its arguments.
        lr_drop: Epoch from which a tenth of the rate is used (``'step'``).
        lr_min_factor: Part of the rate at the end (``'cosine'``).
        warmup_epochs: Epochs in which the rate rises to its value.
        drop_path: Rate of stochastic depth in the encoder.
        use_ema: Average the weights; the average is what is kept.
        ema_decay: Part of the average that a step keeps.
        ema_update_interval: Steps of the optimizer from one update of the
            average to the next.
        ema_tau: Steps after which 63 % of ``ema_decay`` is reached.
        multi_scale: ``'per-batch'`` (or True), ``'per-sample'`` or ``'off'``
            (or False): sizes around the resolution.
        expanded_scales: Five blocks around it in place of four.
        scale_jitter: Crop half of the images.
        amp_dtype: ``'auto'``: bfloat16 or float16 on a GPU, float32
            elsewhere; ``'bf16'`` (on a CPU with units for it as well),
            ``'fp16'`` or None for float32.
        num_workers: Processes that load images.
        pin_memory: Load images into pinned memory; None: the config's.
        persistent_workers: Keep these processes from epoch to epoch; None:
            if there are some.
        prefetch_factor: Batches that each of them loads ahead.
        devices: Processes of a training, one for each GPU; ``'auto'`` or -1
            for all GPUs. More than one are started by torchrun.
        num_nodes: Machines; on each ``MASTER_ADDR`` and ``NODE_RANK`` must
            be set.
        strategy: ``'auto'`` or ``'ddp'``: each has the whole model;
            ``'fsdp'``: they share it out.
        accelerator: Another word for the kind of ``device``.
        progress_bar: A line of progress instead of the log.
        train_log_on_step: Log every step.
        seed: What all draws start from; None for another one each time.
        resume: A checkpoint of a training to go on with, or True for the
            last one in ``output_dir``.
        checkpoint_interval: Epochs between checkpoints (here 1).
        eval_interval: Epochs between validations.
        eval_base_model: Validate the plain weights as well.
        early_stopping: End when the metric stays where it is.
        early_stopping_patience: How many validations it may stay there.
        early_stopping_min_delta: What counts as a rise.
        early_stopping_use_ema: Watch the average (here True, and always
            unless ``eval_base_model`` is on).
        non_finite_patience: End with an error after so many losses in a row
            that are not finite (here); 0 to go on anyway.
        best_model_metric: ``'map'`` or ``'mar'``: the metric that the best
            weights and early stopping go by, mean average precision or
            recall; for masks the recall is that of boxes.
        smooth_alpha: Part that a running mean of that metric keeps from one
            validation to the next; the best plain weights go by the mean. 0
            for the metric itself.
        skip_best_epochs: Epochs at the beginning that are validated but are
            neither the best nor counted by early stopping.
        log_per_class_metrics: Log the average precision of each class (off
            here).
        compute_val_loss: Compute the losses of validation, ``val/loss`` and
            its parts; ``'auto'``: if something watches ``val/loss``.
        compute_test_loss: Let ``evaluate()`` give ``test/loss`` and its
            parts.
        eval_max_dets: Detections of an image that count (100 here, which is
            COCO's; rfdetr: 500). Others need the extra ``fast-eval``.
        eval_backend: ``'vernier'`` for the faster program of that extra; None
            (here) is pycocotools.
        run_test: Evaluate the test split at the end.
        save_dataset_grids: Draw training and validation images as the model
            sees them, into ``output_dir/dataset_grids``.
        tensorboard: Log to TensorBoard (off here).
        wandb: Log to Weights & Biases.
        mlflow: Log to MLflow.
        project: Project of Weights & Biases, experiment of MLflow.
        run: Name of the run there.
        cls_loss_coef: Weight of the classes' loss; None (here, and below):
            the config's, which is 1, and 2 with keypoints.
        mask_ce_loss_coef: Weight of the cross-entropy of masks in loss and
            matching (here None).
        mask_dice_loss_coef: Weight of their overlap (here None).
        mask_point_sample_ratio: Cells of a mask for each point of these
            losses (here None).
        keypoint_flip_pairs: Pairs of keypoints in a flat list, exchanged in a
            mirror in every class; None (here the default) or empty: as their
            names tell.
        keypoint_oks_sigmas: For the evaluation of keypoints, one number for
            each; None: COCO's for 17, 0.05 for other numbers.
        keypoint_l1_loss_coef: Weight of the places in loss and matching; None
            (here, and below): the config's, which is 1.
        keypoint_findable_loss_coef: Weight of "an annotator could find it"
            (here None).
        keypoint_visible_loss_coef: Weight of "nothing hides it" (here None).
        keypoint_nll_loss_coef: Weight of how sure places are (here None).
        notes: Anything plain; kept in the checkpoints.
        cfg_options: Further entries of mmengine's config (here), such as
            ``{'env_cfg.cudnn_benchmark': True}``; they win over the other
            arguments. A key that nobody reads is an error, unless it begins
            with ``+``. Those of the model are fields of ``ModelConfig``.

    Source: rfdetr 1.11.2, config.py, TrainConfig (names and defaults).
    """

    dataset_dir: str | None = None
    dataset_file: str = 'auto'
    class_names: list[str] | None = None
    output_dir: str = 'output'
    epochs: int = 100
    batch_size: int | str = 4
    eval_batch_size: int | None = None
    grad_accum_steps: int = 1
    auto_batch_target_effective: int = 16
    lr: float = 1e-4
    lr_encoder: float = 1.5e-4
    lr_vit_layer_decay: float = 0.8
    lr_component_decay: float = 0.7
    weight_decay: float = 1e-4
    clip_max_norm: float = 0.1
    lr_scheduler: Any = 'step'
    lr_scheduler_kwargs: Any = None
    lr_scheduler_interval: str = 'step'
    lr_scheduler_monitor: str = 'val/loss'
    optimizer: Any = 'adamw'
    optimizer_kwargs: Any = None
    lr_drop: int = 100
    lr_min_factor: float = 0.0
    warmup_epochs: float = 0.0
    drop_path: float = 0.0
    use_ema: bool = True
    ema_decay: float = 0.993
    ema_tau: int = 100
    ema_update_interval: int = 1
    multi_scale: str = 'per-batch'
    expanded_scales: bool = True
    scale_jitter: bool = True
    amp_dtype: str | None = 'auto'
    num_workers: int = 2
    pin_memory: bool | None = None
    persistent_workers: bool | None = None
    prefetch_factor: int | None = None
    devices: int | str = 1
    num_nodes: int = 1
    strategy: str = 'auto'
    accelerator: str = 'auto'
    progress_bar: bool | str | None = None
    train_log_on_step: bool = False
    seed: int | None = None
    resume: str | bool | None = None
    checkpoint_interval: int = 1
    eval_interval: int = 1
    eval_base_model: bool = False
    early_stopping: bool = False
    early_stopping_patience: int = 10
    early_stopping_min_delta: float = 0.001
    early_stopping_use_ema: bool = True
    non_finite_patience: int = 10
    best_model_metric: str = 'map'
    smooth_alpha: float = 0.0
    skip_best_epochs: int = 0
    log_per_class_metrics: bool = False
    compute_val_loss: bool | str = 'auto'
    compute_test_loss: bool = True
    eval_max_dets: int | None = None
    eval_backend: str | None = None
    run_test: bool = False
    save_dataset_grids: bool = False
    tensorboard: bool = False
    wandb: bool = False
    mlflow: bool = False
    project: str | None = None
    run: str | None = None
    cls_loss_coef: float | None = None
    mask_ce_loss_coef: float | None = None
    mask_dice_loss_coef: float | None = None
    mask_point_sample_ratio: int | None = None
    keypoint_flip_pairs: list[int] | None = None
    keypoint_oks_sigmas: list[float] | None = None
    keypoint_l1_loss_coef: float | None = None
    keypoint_findable_loss_coef: float | None = None
    keypoint_visible_loss_coef: float | None = None
    keypoint_nll_loss_coef: float | None = None
    notes: Any = None
    cfg_options: Any = None

    def __post_init__(self) -> None:
        if isinstance(self.multi_scale, bool):
            self.multi_scale = 'per-batch' if self.multi_scale else 'off'
        for name, choices in (
            ('multi_scale', MULTI_SCALE),
            ('amp_dtype', AMP_DTYPES),
            ('best_model_metric', BEST_METRICS),
            ('dataset_file', ('auto', *LAYOUTS)),
            ('compute_val_loss', (True, False, 'auto')),
            ('lr_scheduler_interval', INTERVALS),
            ('accelerator', ACCELERATORS),
            ('strategy', STRATEGIES),
            ('eval_backend', EVALUATORS),
            ('progress_bar', (None, True, False, 'tqdm', 'rich')),
        ):
            value = getattr(self, name)
            if value not in choices:
                raise InputError(
                    f'{name} must be one of {", ".join(map(str, choices))}, '
                    f'got {value!r}'
                )
        if self.class_names is not None:
            self.class_names = _names(self.class_names)
        self._check_keypoints()
        self._check_programs()
        self._check_devices()
        for field in dataclasses.fields(self):
            _check_value(field.name, getattr(self, field.name), field.type)
        self.cfg_options = _options(self.cfg_options)
        if self.lr == 0:
            raise InputError('lr must be greater than 0')
        for name in ('drop_path', 'smooth_alpha'):
            if getattr(self, name) == 1:
                raise InputError(f'{name} must be less than 1')
        for name in ('dataset_dir', 'output_dir', 'resume'):
            value = getattr(self, name)
            if value == '':  # which would be the current folder
                raise InputError(f'{name} must be a path, got an empty text')
            if isinstance(value, (str, os.PathLike)):
                path = os.path.expanduser(os.fspath(value))
                setattr(self, name, path)

    def _check_programs(self) -> None:
        """Optimizer and schedule, as names or paths with arguments."""
        for name in ('optimizer', 'lr_scheduler'):
            kwargs = getattr(self, f'{name}_kwargs') or {}
            if not isinstance(kwargs, Mapping):
                raise InputError(
                    f'{name}_kwargs must be a dict, got {kwargs!r}'
                )
            path, kwargs = as_path(name, getattr(self, name), kwargs)
            try:
                json.dumps(kwargs)
            except TypeError as error:
                raise InputError(
                    f'{name}_kwargs must be plain values, which a checkpoint '
                    f'can hold ({error})'
                ) from error
            setattr(self, name, path)
            setattr(self, f'{name}_kwargs', kwargs)
        # For their errors
        optimizer_config(self.optimizer, self.optimizer_kwargs, 1.0, 0.0)
        if self.lr_scheduler in MANAGED:
            known = dict(lr_drop='lr_drop', min_factor='lr_min_factor')
            known['lr_min_factor'] = 'lr_min_factor'
            given = self.lr_scheduler_kwargs
            refuse_unknown(given, known, 'lr_scheduler_kwargs')
            for key, value in given.items():
                setattr(self, known[key], value)
            self.lr_scheduler_kwargs = {}
        else:
            schedule_configs(
                self.lr_scheduler, self.lr_scheduler_kwargs, 'step', '', 0
            )

    def _check_devices(self) -> None:
        given = self.devices
        if isinstance(given, str) and given.lstrip('-').isdigit():
            self.devices = given = int(given)
        is_number = type(given) is int and (given >= 1 or given == -1)
        if not is_number and given != 'auto':
            raise InputError(
                "devices must be the number of GPUs, or 'auto' or -1 for all, "
                f'got {given!r}; which ones is CUDA_VISIBLE_DEVICES'
            )

    def _check_keypoints(self) -> None:
        pairs = self.keypoint_flip_pairs or ()
        whole = isinstance(pairs, (list, tuple)) and len(pairs) % 2 == 0
        if not whole or not all(type(k) is int and k >= 0 for k in pairs):
            raise InputError(
                'keypoint_flip_pairs must be a flat list of pairs of keypoint '
                'numbers such as [1, 2, 3, 4], which exchanges 1 and 2, and 3 '
                f'and 4; got {self.keypoint_flip_pairs!r}'
            )
        sigmas = self.keypoint_oks_sigmas or ()
        if not isinstance(sigmas, (list, tuple)) or not all(
            type(sigma) in (int, float) and 0 < sigma < math.inf
            for sigma in sigmas
        ):
            raise InputError(
                'keypoint_oks_sigmas must be a list of positive numbers, got '
                f'{self.keypoint_oks_sigmas!r}'
            )

    def of_masks(self) -> list[str]:
        """Names of what is given and is of models with masks alone."""
        names = ('ce_loss_coef', 'dice_loss_coef', 'point_sample_ratio')
        names = [f'mask_{name}' for name in names]
        return [name for name in names if getattr(self, name) is not None]

    def of_keypoints(self) -> list[str]:
        """Names of what is given and is of models with keypoints alone."""
        names = ['keypoint_flip_pairs', 'keypoint_oks_sigmas']
        given = [name for name in names if getattr(self, name)]
        names = [f'keypoint_{term}_loss_coef' for term in KEYPOINT_TERMS]
        return given + [n for n in names if getattr(self, n) is not None]


def _options(value: Any) -> dict[str, Any]:
    """Entries of the config that are not those of other arguments."""
    value = {} if value is None else value
    if not isinstance(value, Mapping) or not all(
        isinstance(key, str) for key in value
    ):
        raise InputError(
            'cfg_options must be a dict of entries of the config, such as '
            f"{{'env_cfg.cudnn_benchmark': True}}, got {value!r:.200}"
        )
    for key in value:
        first = key.lstrip('+').split('.')[0]
        if first in _CHOSEN_ELSEWHERE:
            raise InputError(
                f'cfg_options cannot have {key}: {_CHOSEN_ELSEWHERE[first]}. '
                'A config of your own with tools/train.py can have all entries'
            )
    return dict(value)


def _names(value: Any) -> list[str]:
    is_list = isinstance(value, (list, tuple)) and len(value) > 0
    if not is_list or not all(isinstance(name, str) for name in value):
        raise InputError(f'class_names must be a list of names, got {value!r}')
    return list(value)


# What cfg_options leave to other arguments, and which these are.
_CHOSEN_ELSEWHERE = {
    'model': 'the model is chosen when it is made, by the arguments of its '
    'class (--model, --weights, --resolution of rfdetr-mm)',
    'resolution': 'the image size is resolution=N of train(), --resolution',
    'data_root': 'the data set is dataset_dir of train(), DATASET',
    'work_dir': 'the folder is output_dir of train(), --output-dir',
    'load_from': 'the weights are pretrain_weights of the model, --weights',
    'resume': 'going on is resume of train(), --resume',
}
# Numbers that may be 0; integers must be 1 at least otherwise.
_FROM_ZERO = (
    'num_workers',
    'seed',
    'ema_tau',
    'lr_drop',
    'non_finite_patience',
    'skip_best_epochs',
)
# Parts of a whole.
_UP_TO_ONE = ('drop_path', 'ema_decay', 'lr_min_factor', 'smooth_alpha')


def _check_value(name: str, value: Any, kind: Any) -> None:
    """Check a value by the type of its field."""
    if name == 'batch_size' and value == 'auto':
        return
    kinds = getattr(kind, '__args__', (kind,))
    if value is None and type(None) in kinds:
        return
    if bool in kinds and isinstance(value, bool):
        return
    if name in ('compute_val_loss', 'progress_bar', 'devices'):
        return  # checked by their choices
    if kind is Any:
        return
    if str in kinds and int not in kinds:
        if not isinstance(value, (str, os.PathLike)):
            raise InputError(f'{name} must be text, got {value!r}')
        return
    if bool in kinds:
        raise InputError(f'{name} must be True or False, got {value!r}')
    if int in kinds:
        least = 0 if name in _FROM_ZERO else 1
        if type(value) is not int or value < least:
            auto = " or 'auto'" if name == 'batch_size' else ''
            raise InputError(
                f'{name} must be an integer of at least {least}{auto}, got '
                f'{value!r}'
            )
    if float in kinds:
        most = 1 if name in _UP_TO_ONE else sys.float_info.max
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not 0 <= value <= most
        ):
            span = 'from 0 to 1' if name in _UP_TO_ONE else 'from 0 on'
            raise InputError(f'{name} must be a number {span}, got {value!r}')


def make_train_config(given: Mapping[str, Any], where: str) -> TrainConfig:
    """Make the configuration of a training.

    Args:
        given: Fields of :class:`TrainConfig`. Upstream's deprecated
            arguments are ignored with a warning, and those of ``ELSEWHERE``
            are taken if they ask for what is done anyway.
        where: The call, for messages.

    Returns:
        The configuration, checked.

    Raises:
        InputError: If a field is unknown or has an impossible value.
    """
    given = dict(given)
    for name, reason in DEPRECATED.items():
        is_given = name in given and name in NEVER_SAVED
        if given.pop(name, None) or is_given:
            warnings.warn(
                f'{where}: {name} is deprecated and ignored; {reason}.',
                FutureWarning,
                stacklevel=3,
            )
    own = {field.name for field in dataclasses.fields(ModelConfig)}
    for name in [*given]:
        if name in ELSEWHERE:
            done_anyway, reason = ELSEWHERE[name]
            value = given.pop(name)
            if not any(value is one or value == one for one in done_anyway):
                raise InputError(
                    f"{where}: rfdetr's {name}={value!r} has its place "
                    f'elsewhere here: {reason}. See '
                    'docs/coming_from_rfdetr.md.'
                )
            continue
        if name in own:
            raise InputError(
                f'{where} has no argument {name!r}; it is one of the model: '
                f'RFDETRNano({name}=...)'
            )
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    refuse_unknown(given, fields, where)
    return TrainConfig(**given)
