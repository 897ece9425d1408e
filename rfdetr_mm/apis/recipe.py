"""From what was chosen for a training to mmengine's config."""

import datetime
import logging
import os
import uuid
import warnings

import torch
from mmengine.config import Config, ConfigDict

from rfdetr_mm.engine.config_options import merge_options
from rfdetr_mm.errors import InputError
from rfdetr_mm.evaluation.vernier_grid import import_vernier
from rfdetr_mm.sizes.blocks import multi_scale_sizes
from rfdetr_mm.sizes.config_facts import set_image_size
from rfdetr_mm.sizes.shipped import read_shipped
from rfdetr_mm_light.sizes import Size

from .model_config import ModelConfig
from .optimizers import MANAGED, optimizer_config, schedule_configs
from .train_config import KEYPOINT_TERMS, TrainConfig

_PRECISIONS = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
_MASK_TERMS = {
    'ce': ('loss_mask', 'CrossEntropyLossCost'),
    'dice': ('loss_dice', 'DiceCost'),
}
_MAX_DETS = 100
_AMP = {
    'bf16': dict(type='AutocastOptimWrapper', dtype='bfloat16'),
    'fp16': dict(
        type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic'
    ),
}


def fill_in_training(
    cfg: Config, variant: Size, model: ModelConfig, train: TrainConfig
) -> None:
    """Write a training into the config of its model, in place.

    Args:
        cfg: The size's config for a user's data set, its model filled in.
        variant: The size.
        model: Its configuration.
        train: What is wanted; its ``batch_size`` is a number.

    Raises:
        InputError: If the model takes images of other than 3 channels, has
            no keypoints and something is given about them, or an entry of
            ``cfg_options`` cannot have an effect.
    """
    if model.num_channels != 3:
        raise InputError(
            f'num_channels={model.num_channels}: image files of a data set '
            'are read as RGB, 3 channels, so train() and evaluate() need '
            'num_channels=3. predict() takes arrays and tensors of other '
            'numbers; to train with them, write a config whose pipeline loads '
            'them, with model.backbone.in_channels and mean and std of '
            'model.data_preprocessor to match.'
        )
    stamp = datetime.datetime.now().strftime('%Y%m%d_%H%M%S')
    name = f'{variant.size}_{stamp}_{uuid.uuid4().hex[:6]}'
    cfg.merge_from_dict(
        {
            'notes': train.notes,
            'experiment_name': name,
            # One for each run of this process.
            'visualizer.name': name,
            'work_dir': train.output_dir,
            'train_cfg.max_epochs': train.epochs,
            'train_cfg.val_interval': train.eval_interval,
            'default_hooks.checkpoint.interval': train.checkpoint_interval,
            'optim_wrapper.paramwise_cfg': dict(
                backbone_lr_mult=train.lr_encoder / train.lr,
                layer_decay_rate=train.lr_vit_layer_decay,
                component_decay_rate=train.lr_component_decay,
            ),
            'optim_wrapper.accumulative_counts': train.grad_accum_steps,
            'model.backbone.drop_path_rate': train.drop_path,
        }
    )
    cfg.load_from = model.pretrain_weights
    _set_log_level(cfg)
    _set_optimizer(cfg, model, train)
    if train.clip_max_norm:
        cfg.optim_wrapper.clip_grad.max_norm = train.clip_max_norm
    else:
        cfg.optim_wrapper.clip_grad = None
    if train.seed is not None:
        cfg.randomness = dict(seed=train.seed)
    _set_compilation(cfg, model, train)
    fill_in_data(cfg, train)
    _set_precision(cfg, train, model)
    _set_scales(cfg, model, train)
    _set_average(cfg, train)
    _set_evaluator(cfg, train)
    _set_monitoring(cfg, train)
    _set_keypoints(cfg, model, train)
    _set_masks(cfg, model, train)
    if train.resume:
        cfg.resume = True
        cfg.load_from = None if train.resume is True else train.resume
    if train.cfg_options:
        merge_options(cfg, train.cfg_options)
    _set_losses(cfg, train)


def _set_optimizer(
    cfg: Config, model: ModelConfig, train: TrainConfig
) -> None:
    optimizer = optimizer_config(
        train.optimizer, train.optimizer_kwargs, train.lr, train.weight_decay
    )
    if not model.fused_optimizer:
        optimizer.pop('fused', None)
    cfg.optim_wrapper.optimizer = ConfigDict(optimizer)
    if train.lr_scheduler in MANAGED:
        cfg.param_scheduler = [ConfigDict(_schedule(train))]
        return
    cfg.param_scheduler = [
        ConfigDict(one)
        for one in schedule_configs(
            train.lr_scheduler,
            train.lr_scheduler_kwargs,
            train.lr_scheduler_interval,
            train.lr_scheduler_monitor,
            train.warmup_epochs,
        )
    ]


def _schedule(train: TrainConfig) -> dict:
    common = dict(convert_to_iter_based=True, warmup=train.warmup_epochs)
    if train.lr_scheduler == 'cosine':
        return dict(
            type='WarmupCosineLR', min_factor=train.lr_min_factor, **common
        )
    return dict(type='WarmupStepLR', drop=train.lr_drop, **common)


def fill_in_data(cfg: Config, train: TrainConfig) -> None:
    """Write what a training says of its data into a config, in place.

    Args:
        cfg: The config.
        train: What is wanted.
    """
    cfg.data_root = train.dataset_dir
    cfg.dataset_layout = train.dataset_file
    if train.class_names is not None:
        for split in ('train', 'val', 'test'):
            dataset = cfg[f'{split}_dataloader'].dataset
            dataset.metainfo = dict(classes=tuple(train.class_names))
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.num_workers = train.num_workers
        loader.persistent_workers = train.num_workers > 0
        loader.batch_size = train.batch_size
        if split != 'train' and train.eval_batch_size is not None:
            loader.batch_size = train.eval_batch_size
        for name in ('pin_memory', 'persistent_workers', 'prefetch_factor'):
            if getattr(train, name) is not None:
                loader[name] = getattr(train, name)
    cfg.train_dataloader.sampler = dict(
        type='SmallDataSampler',
        batch_size=train.batch_size,
        accumulative_counts=train.grad_accum_steps,
    )


def _set_compilation(
    cfg: Config, model: ModelConfig, train: TrainConfig
) -> None:
    graphs = model.cuda_graphs and model.device.startswith('cuda')
    if graphs and train.grad_accum_steps > 1:
        raise InputError(
            'cuda_graphs=True and gradients of several batches exclude each '
            f'other, got grad_accum_steps={train.grad_accum_steps}: recorded '
            'kernels write to the same gradients again. Take a larger '
            'batch_size with grad_accum_steps=1, or cuda_graphs=False.'
        )
    if model.compile:
        cfg.default_hooks.compile = dict(
            type='CompileHook', cuda_graphs=graphs
        )
    elif graphs:
        cfg.default_hooks.compile = dict(
            type='CompileHook', backend='cudagraphs'
        )


def _set_log_level(cfg: Config) -> None:
    """Take what LOG_LEVEL, which rfdetr reads, wants to be shown."""
    level = os.environ.get('LOG_LEVEL', '').upper()
    if isinstance(getattr(logging, level, None), int):
        cfg.log_level = level


def _set_precision(
    cfg: Config, train: TrainConfig, model: ModelConfig
) -> None:
    chosen, device = train.amp_dtype, model.device
    if chosen == 'auto' and not model.amp:
        warnings.warn(
            'amp of a model is deprecated; pass amp_dtype=None to train().',
            FutureWarning,
            stacklevel=4,
        )
        chosen = None
    if not device.startswith('cuda'):
        if chosen == 'fp16':
            warnings.warn(
                f"amp_dtype='fp16' needs a GPU, got device={device!r}: the "
                "model is trained in float32. 'bf16' works on a CPU that has "
                'units for it.',
                stacklevel=4,
            )
        # By default in float32, as rfdetr does whatever is asked for.
        chosen = 'bf16' if chosen == 'bf16' else None
    elif chosen == 'auto':
        # bfloat16 is emulated on older GPUs.
        is_new = torch.cuda.get_device_capability(device) >= (8, 0)
        chosen = 'bf16' if is_new else 'fp16'
    if chosen is not None:
        cfg.optim_wrapper.update(_AMP[chosen])


def _set_scales(cfg: Config, model: ModelConfig, train: TrainConfig) -> None:
    """Set the sizes of training images; the others have them already."""
    pipeline = cfg.train_dataloader.dataset.pipeline
    if not train.scale_jitter:
        pipeline[:] = [s for s in pipeline if s.type != 'RandomApply']
    if train.multi_scale == 'off':
        return
    arguments = dict(
        img_size=model.resolution,
        patch_size=model.patch_size,
        num_windows=model.num_windows,
        expanded=train.expanded_scales,
    )
    sizes = multi_scale_sizes(**arguments)
    if train.multi_scale == 'per-sample':
        at = [step.type for step in pipeline].index('RFDETRResize')
        pipeline[at] = ConfigDict(
            type='RandomChoiceResize',
            scales=sizes,
            resize_type='RFDETRResize',
            kernel='training',
        )
    else:
        cfg.model.data_preprocessor.batch_augments = [
            dict(
                type='BatchMultiScaleResize',
                interval=train.grad_accum_steps,
                **arguments,
            )
        ]
    set_image_size(cfg, (model.resolution, model.resolution))


def _set_average(cfg: Config, train: TrainConfig) -> None:
    hooks = cfg.custom_hooks
    average = next(h for h in hooks if h.type == 'OptimStepEMAHook')
    average.update(decay=train.ema_decay, tau=train.ema_tau)
    if train.ema_update_interval != 1:
        average.step_interval = train.ema_update_interval
    if not train.use_ema:
        hooks.remove(average)


def _set_monitoring(cfg: Config, train: TrainConfig) -> None:
    evaluator = cfg.val_evaluator
    evaluator.classwise = train.log_per_class_metrics
    if train.train_log_on_step:
        cfg.default_hooks.logger.interval = 1
    checkpoints = cfg.default_hooks.checkpoint
    if train.best_model_metric == 'mar':
        checkpoints.save_best = _recall_of(evaluator)
    checkpoints.smooth_alpha = train.smooth_alpha
    checkpoints.skip_best_epochs = train.skip_best_epochs
    metric = checkpoints.save_best
    watched = metric
    if train.eval_base_model and train.use_ema:
        cfg.val_cfg.type = 'TwoWeightsValLoop'
        plain = f'plain/{metric}'
        checkpoints.save_best = [metric, plain]
        watched = metric if train.early_stopping_use_ema else plain
    if train.non_finite_patience:
        cfg.default_hooks.finite_loss.patience = train.non_finite_patience
    else:
        cfg.default_hooks.finite_loss = None
    if train.early_stopping:
        cfg.default_hooks.early_stopping = dict(
            type='LateStoppingHook',
            monitor=watched,
            skip_best_epochs=train.skip_best_epochs,
            rule='greater',
            min_delta=train.early_stopping_min_delta,
            patience=train.early_stopping_patience,
        )
    backends = cfg.visualizer.vis_backends
    for name in ('tensorboard', 'wandb', 'mlflow'):
        if getattr(train, name):
            backend = read_shipped(f'_base_/visualizers/{name}.py')[name]
            _name_run(backend, train)
            backends.append(backend)


def _set_evaluator(cfg: Config, train: TrainConfig) -> None:
    """Choose the program that evaluates, and how many detections count."""
    count = train.eval_max_dets or _MAX_DETS
    if train.eval_backend is None and count == _MAX_DETS:
        return
    if cfg.val_evaluator.type == 'NamedOksMetric':
        raise InputError(
            'eval_max_dets and eval_backend are for boxes and masks: '
            'keypoints are evaluated on 20 detections, as in COCO; leave '
            'them out'
        )
    import_vernier()
    for split in ('val', 'test'):
        evaluator = cfg[f'{split}_evaluator']
        evaluator.type = 'VernierCocoMetric'
        evaluator.proposal_nums = (1, 10, count)


def _set_losses(cfg: Config, train: TrainConfig) -> None:
    """Let validation and tests compute losses, if they are wanted."""
    wanted = train.compute_val_loss
    if wanted == 'auto':
        wanted = _is_watched(cfg, 'val/loss')
    if wanted:
        cfg.val_cfg.with_loss = True
        if cfg.val_cfg.type == 'ValLoop':
            cfg.val_cfg.type = 'LossValLoop'
    if train.compute_test_loss:
        cfg.test_cfg.type = 'LossTestLoop'


def _is_watched(cfg: Config, metric: str) -> bool:
    """Whether a schedule or a hook goes by a metric."""
    parts = [
        *cfg.param_scheduler,
        *cfg.custom_hooks,
        *filter(None, cfg.default_hooks.values()),
    ]
    watched = [part.get('monitor') for part in parts]
    for part in parts:
        best = part.get('save_best')
        watched += best if isinstance(best, list) else [best]
    return metric in watched


def _recall_of(evaluator: ConfigDict) -> str:
    """The mean average recall of an evaluator, which it then computes."""
    if evaluator.type == 'NamedOksMetric':
        return 'coco/keypoint_mAR'
    most = f'AR@{evaluator.proposal_nums[-1]}'
    evaluator.metric_items = [*_PRECISIONS, most]
    return f'coco/bbox_{most}'


def _set_keypoints(
    cfg: Config, model: ModelConfig, train: TrainConfig
) -> None:
    given = train.of_keypoints()
    if not given:
        return
    if not model.use_grouppose_keypoints:
        raise InputError(
            f'{", ".join(given)}: this model has no keypoints; take '
            'RFDETRKeypointPreview, or leave it out'
        )
    for term in KEYPOINT_TERMS:
        weight = getattr(train, f'keypoint_{term}_loss_coef')
        if weight is None:
            continue
        loss = cfg.model.bbox_head[f'loss_keypoint_{term}']
        loss.loss_weight = weight
        cost_type = loss.type.replace('Loss', 'Cost')
        for cost in cfg.model.train_cfg.assigner.match_costs:
            if cost.type == cost_type:
                cost.weight = weight
    if train.keypoint_oks_sigmas:
        for split in ('val', 'test'):
            cfg[f'{split}_evaluator'].sigmas = list(train.keypoint_oks_sigmas)
    if train.keypoint_flip_pairs:
        numbers = iter(train.keypoint_flip_pairs)
        pairs = [list(pair) for pair in zip(numbers, numbers)]
        cfg.train_dataloader.dataset.flip_pairs = pairs


def _name_run(backend: ConfigDict, train: TrainConfig) -> None:
    if backend.type == 'WandbVisBackend':
        names = dict(project=train.project, name=train.run)
        backend.init_kwargs.update({k: v for k, v in names.items() if v})
    elif backend.type == 'MLflowVisBackend':
        backend.exp_name = train.project or backend.exp_name
        if train.run:
            backend.run_name = train.run


def _set_masks(cfg: Config, model: ModelConfig, train: TrainConfig) -> None:
    """Set weights of losses and their match costs, and the points."""
    head = cfg.model.bbox_head
    if train.cls_loss_coef is not None:
        head.loss_cls.loss_weight = train.cls_loss_coef
    given = train.of_masks()
    if given and not model.segmentation_head:
        raise InputError(
            f'{", ".join(given)}: this model has no masks; take one of '
            'RFDETRSeg…, or leave it out'
        )
    for term, (name, cost_type) in _MASK_TERMS.items():
        weight = getattr(train, f'mask_{term}_loss_coef')
        if weight is None:
            continue
        head[name].loss_weight = weight
        for cost in cfg.model.train_cfg.assigner.match_costs:
            if cost.type == cost_type:
                cost.weight = weight
    if train.mask_point_sample_ratio is not None:
        ratio = train.mask_point_sample_ratio
        cfg.model.train_cfg.cells_per_point = ratio
