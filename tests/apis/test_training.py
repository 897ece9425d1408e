"""Each option of a training reaches the config that mmengine runs."""

import pytest
import torch

from rfdetr_mm.apis.model_config import fill_in_model, make_model_config
from rfdetr_mm.apis.recipe import fill_in_training
from rfdetr_mm.apis.train_config import make_train_config
from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.shipped import read_config_of
from rfdetr_mm_light.sizes import SIZES


@pytest.fixture(autouse=True)
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)


def fill(name='RFDETRNano', model=(), **given):
    variant = SIZES[name]
    cfg = read_config_of(variant)
    config = make_model_config(variant, dict(model, num_classes=3))
    fill_in_model(cfg, config)
    train = make_train_config(dict(given, dataset_dir='data'), 'train()')
    fill_in_training(cfg, variant, config, train)
    return cfg


def entry(cfg, name):
    for key in name.split('.'):
        cfg = cfg[int(key)] if isinstance(cfg, list) else cfg[key]
    return cfg


def average(cfg):
    return [h for h in cfg.custom_hooks if h.type == 'OptimStepEMAHook']


def test_defaults_are_upstreams_recipe():
    cfg, shipped = fill(), read_config_of(SIZES['RFDETRNano'])
    for name in (
        'optim_wrapper.optimizer',
        'optim_wrapper.clip_grad',
        'param_scheduler',
        'train_cfg',
        'val_cfg',
        'custom_hooks',
        'train_dataloader.batch_size',
        'val_dataloader',
    ):
        assert entry(cfg, name) == entry(shipped, name), name
    decays = dict(cfg.optim_wrapper.paramwise_cfg)
    assert decays == pytest.approx(dict(shipped.optim_wrapper.paramwise_cfg))
    # Multi-scale is on by default, as in upstream's train().
    augment = cfg.model.data_preprocessor.batch_augments[0]
    assert augment.type == 'BatchMultiScaleResize'
    assert cfg.train_dataloader.dataset.pipeline[3].scale == (544, 544)
    assert cfg.test_dataloader.dataset.pipeline[1].scale == (384, 384)


@pytest.mark.parametrize(
    'given, name, value',
    [
        (dict(epochs=7), 'train_cfg.max_epochs', 7),
        (dict(eval_interval=2), 'train_cfg.val_interval', 2),
        (
            dict(checkpoint_interval=5),
            'default_hooks.checkpoint.interval',
            5,
        ),
        (dict(batch_size=3), 'train_dataloader.batch_size', 3),
        (dict(batch_size=3), 'test_dataloader.batch_size', 3),
        (dict(eval_batch_size=5), 'val_dataloader.batch_size', 5),
        (dict(num_workers=0), 'train_dataloader.persistent_workers', False),
        (
            dict(grad_accum_steps=4),
            'optim_wrapper.accumulative_counts',
            4,
        ),
        (
            dict(grad_accum_steps=4),
            'model.data_preprocessor.batch_augments.0.interval',
            4,
        ),
        (
            dict(grad_accum_steps=4),
            'train_dataloader.sampler.accumulative_counts',
            4,
        ),
        (dict(lr=2e-4), 'optim_wrapper.optimizer.lr', 2e-4),
        (
            dict(lr=2e-4, lr_encoder=1e-4),
            'optim_wrapper.paramwise_cfg.backbone_lr_mult',
            0.5,
        ),
        (dict(weight_decay=0.0), 'optim_wrapper.optimizer.weight_decay', 0.0),
        (dict(clip_max_norm=0), 'optim_wrapper.clip_grad', None),
        (dict(clip_max_norm=2), 'optim_wrapper.clip_grad.max_norm', 2),
        (dict(lr_scheduler='cosine'), 'param_scheduler.0.min_factor', 0.0),
        (dict(lr_drop=9), 'param_scheduler.0.drop', 9),
        (dict(warmup_epochs=1.5), 'param_scheduler.0.warmup', 1.5),
        (dict(cls_loss_coef=3), 'model.bbox_head.loss_cls.loss_weight', 3),
        (dict(ema_update_interval=4), 'custom_hooks.0.step_interval', 4),
        (dict(train_log_on_step=True), 'default_hooks.logger.interval', 1),
        (dict(pin_memory=True), 'val_dataloader.pin_memory', True),
        (dict(prefetch_factor=5), 'train_dataloader.prefetch_factor', 5),
        (
            dict(optimizer='sgd', optimizer_kwargs=dict(momentum=0.9)),
            'optim_wrapper.optimizer',
            dict(type='SGD', lr=1e-4, momentum=0.9, weight_decay=1e-4),
        ),
        (
            dict(
                lr_scheduler='ReduceLROnPlateau',
                lr_scheduler_kwargs=dict(patience=2),
            ),
            'val_cfg.with_loss',
            True,
        ),
        (
            dict(eval_max_dets=500),
            'val_evaluator.type',
            'VernierCocoMetric',
        ),
        (
            dict(eval_max_dets=500),
            'test_evaluator.proposal_nums',
            (1, 10, 500),
        ),
        (
            dict(eval_max_dets=300, best_model_metric='mar'),
            'default_hooks.checkpoint.save_best',
            'coco/bbox_AR@300',
        ),
        (dict(drop_path=0.1), 'model.backbone.drop_path_rate', 0.1),
        (dict(seed=3), 'randomness.seed', 3),
        (dict(eval_base_model=True), 'val_cfg.type', 'TwoWeightsValLoop'),
        (
            dict(early_stopping=True, early_stopping_patience=3),
            'default_hooks.early_stopping.patience',
            3,
        ),
        (
            dict(early_stopping=True),
            'default_hooks.early_stopping.monitor',
            'coco/bbox_mAP',
        ),
        (
            dict(
                early_stopping=True,
                eval_base_model=True,
                early_stopping_use_ema=False,
            ),
            'default_hooks.early_stopping.monitor',
            'plain/coco/bbox_mAP',
        ),
        (
            dict(tensorboard=True),
            'visualizer.vis_backends.1.type',
            'TensorboardVisBackend',
        ),
        (
            dict(wandb=True, project='p', run='r'),
            'visualizer.vis_backends.1.init_kwargs',
            dict(project='p', name='r'),
        ),
        (
            dict(mlflow=True, project='p'),
            'visualizer.vis_backends.1.exp_name',
            'p',
        ),
        ({}, 'val_cfg.type', 'ValLoop'),
        (dict(compute_val_loss=True), 'val_cfg.type', 'LossValLoop'),
        (
            dict(compute_val_loss=True, eval_base_model=True),
            'val_cfg',
            dict(type='TwoWeightsValLoop', with_loss=True),
        ),
        (
            dict(
                early_stopping=True,
                cfg_options={
                    'default_hooks.early_stopping.monitor': 'val/loss'
                },
            ),
            'val_cfg.with_loss',
            True,
        ),
        ({}, 'test_cfg.type', 'LossTestLoop'),
        (dict(compute_test_loss=False), 'test_cfg.type', 'TestLoop'),
        ({}, 'default_hooks.finite_loss.patience', 10),
        (
            dict(non_finite_patience=3),
            'default_hooks.finite_loss.patience',
            3,
        ),
        (dict(non_finite_patience=0), 'default_hooks.finite_loss', None),
        (dict(output_dir='out'), 'work_dir', 'out'),
        (dict(dataset_file='yolo'), 'dataset_layout', 'yolo'),
        (
            dict(class_names=['a']),
            'train_dataloader.dataset.metainfo.classes',
            ('a',),
        ),
        (dict(resume='a.pth'), 'load_from', 'a.pth'),
        (dict(resume=True), 'load_from', None),
        (dict(notes='a'), 'notes', 'a'),
        (
            dict(lr=0.5, cfg_options={'optim_wrapper.optimizer.lr': 0.25}),
            'optim_wrapper.optimizer.lr',
            0.25,
        ),
        (dict(cfg_options={'+mine.x': [1]}), 'mine.x', [1]),
    ],
)
def test_options(given, name, value):
    assert entry(fill(**given), name) == value


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'optim_wrapper.optimiser.lr': 1}, 'optim_wrapper.optimizer.lr'),
        ({'model.bbox_head.num_queries': 5}, 'arguments of its class'),
        ({'+model.x': 5}, 'arguments of its class'),
        ({'resolution': 64}, 'resolution=N of train'),
        ({'work_dir': 'x'}, 'output_dir'),
        ({3: 4}, 'must be a dict'),
        ('a=3', 'must be a dict'),
    ],
)
def test_entries_that_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        fill(cfg_options=options)


def test_scales():
    steps = fill(multi_scale='per-sample').train_dataloader.dataset.pipeline
    assert steps[3].type == 'RandomChoiceResize'
    assert steps[3].scales[0] == (224, 224)
    cfg = fill(multi_scale=False, scale_jitter=False)
    steps = cfg.train_dataloader.dataset.pipeline
    assert [step.type for step in steps] == [
        'LoadImageFromFile',
        'LoadAnnotations',
        'RFDETRResize',
        'RandomFlip',
        'PackDetInputs',
    ]
    assert steps[2].scale == (384, 384)
    assert 'batch_augments' not in cfg.model.data_preprocessor
    small = fill(model=dict(resolution=512), expanded_scales=False)
    assert small.train_dataloader.dataset.pipeline[3].scale == (640, 640)


def test_average_and_device(monkeypatch):
    (hook,) = average(fill(ema_decay=0.9, ema_tau=5))
    assert (hook.decay, hook.tau) == (0.9, 5)
    assert not average(fill(use_ema=False))
    for capability, given, dtype in (
        ((8, 0), {}, 'bfloat16'),
        ((7, 5), {}, 'float16'),
        ((9, 0), dict(amp_dtype='fp16'), 'float16'),
    ):
        monkeypatch.setattr(
            torch.cuda, 'get_device_capability', lambda d, c=capability: c
        )
        wrapper = fill(model=dict(device='cuda:1'), **given).optim_wrapper
        type_name = 'Amp' if dtype == 'float16' else 'Autocast'
        assert wrapper.type == f'{type_name}OptimWrapper'
        assert wrapper.dtype == dtype


@pytest.mark.parametrize(
    ('chosen', 'expected'),
    [
        ({}, 'OptimWrapper'),
        (dict(amp_dtype=None), 'OptimWrapper'),
        (dict(amp_dtype='bf16'), 'AutocastOptimWrapper'),
    ],
)
def test_precision_on_a_cpu(chosen, expected, recwarn):
    assert fill(**chosen).optim_wrapper.type == expected
    assert not recwarn.list


def test_float16_on_a_cpu_is_float32():
    with pytest.warns(UserWarning, match="needs a GPU, got device='cpu'"):
        cfg = fill(amp_dtype='fp16')
    assert cfg.optim_wrapper.type == 'OptimWrapper'


@pytest.mark.parametrize(
    ('model', 'hook'),
    [
        (dict(), None),
        (dict(compile=True), dict(cuda_graphs=False)),
        (dict(cuda_graphs=True), dict(backend='cudagraphs')),
        (dict(compile=True, cuda_graphs=True), dict(cuda_graphs=True)),
        (dict(cuda_graphs=True, device='cpu'), None),
    ],
)
def test_compilation_and_cuda_graphs(model, hook):
    cfg = fill(model={'device': 'cuda', **model}, amp_dtype=None)
    found = cfg.default_hooks.get('compile')
    assert found == (hook and dict(type='CompileHook', **hook))


def test_cuda_graphs_accumulate_nothing():
    model = dict(device='cuda:0', cuda_graphs=True)
    with pytest.raises(InputError, match='grad_accum_steps=2'):
        fill(model=model, grad_accum_steps=2)
    fill(model=dict(model, device='cpu'), grad_accum_steps=2)


def test_segmentation_keeps_the_best_masks():
    cfg = fill('RFDETRSegNano', early_stopping=True, eval_base_model=True)
    assert cfg.default_hooks.early_stopping.monitor == 'coco/segm_mAP'
    assert cfg.default_hooks.checkpoint.save_best == [
        'coco/segm_mAP',
        'plain/coco/segm_mAP',
    ]
    assert cfg.train_dataloader.dataset.pipeline[1].with_mask


def test_the_model_class_is_in_the_config():
    cfg = fill(model=dict(compile=True))
    assert cfg.model_name == 'RFDETRNano'
    assert cfg.default_hooks.compile.type == 'CompileHook'
    assert fill().experiment_name != fill().experiment_name


@pytest.mark.parametrize('num_channels', [1, 4])
def test_other_channels_are_refused_before_training(num_channels):
    with pytest.raises(InputError, match=f'num_channels={num_channels}: im'):
        fill(model=dict(num_channels=num_channels))


def pose(**given):
    variant = SIZES['RFDETRKeypointPreview']
    cfg = read_config_of(variant)
    config = make_model_config(
        variant, dict(num_classes=2, num_keypoints_per_class=[3, 4])
    )
    fill_in_model(cfg, config)
    train = make_train_config(dict(given, dataset_dir='data'), 'train()')
    fill_in_training(cfg, variant, config, train)
    return cfg


def test_what_is_said_of_keypoints():
    cfg = pose(
        keypoint_l1_loss_coef=3,
        keypoint_nll_loss_coef=0.5,
        keypoint_flip_pairs=[0, 2, 1, 3],
        keypoint_oks_sigmas=[0.1, 0.2],
    )
    plain = pose(keypoint_flip_pairs=[])

    def weights(cfg):
        costs = cfg.model.train_cfg.assigner.match_costs
        by_type = {cost.type: cost.weight for cost in costs}
        head = cfg.model.bbox_head
        names = ('L1', 'Findable', 'Visible', 'NLL')
        return [
            [head[f'loss_keypoint_{n.lower()}'].loss_weight for n in names],
            [by_type[f'Keypoint{name}Cost'] for name in names],
        ]

    assert weights(plain) == [[1.0] * 4] * 2
    assert weights(cfg) == [[3, 1.0, 1.0, 0.5]] * 2
    assert cfg.train_dataloader.dataset.flip_pairs == [[0, 2], [1, 3]]
    assert 'flip_pairs' not in plain.train_dataloader.dataset
    assert cfg.val_evaluator.sigmas == cfg.test_evaluator.sigmas == [0.1, 0.2]
    assert plain.val_evaluator.sigmas is None


@pytest.mark.parametrize(
    'given',
    [
        dict(keypoint_nll_loss_coef=1.0),
        dict(keypoint_flip_pairs=[1, 2]),
        dict(keypoint_oks_sigmas=[0.1]),
    ],
)
def test_keypoints_of_a_model_without_them(given):
    (name,) = given
    with pytest.raises(InputError, match=f'{name}: .* RFDETRKeypointPreview'):
        fill(**given)
    assert fill(keypoint_flip_pairs=[], keypoint_oks_sigmas=None)
