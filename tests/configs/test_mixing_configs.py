"""Parts of several houses in one model train and predict.

The unmarked tests run every config of ``configs/mixing`` with few channels and
layers; the slow ones as they are.
"""

import importlib.util
import sys
from pathlib import Path
from statistics import median

import pytest
import torch
from mmdet.registry import DATASETS, HOOKS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / 'configs' / 'mixing'
NAMES = [p.stem for p in sorted(FOLDER.glob('*.py'))]
SEMI = 'semi-base_rfdetr_tiny-shapes'
IMAGE_MODELS = [n for n in NAMES if n.endswith('shapes') and n != SEMI]
CLIPS = [n for n in NAMES if n.endswith('clip')]
# Optional packages that a config names in its first lines.
NEEDS = {
    'rfdetr-head_convnext-t_tiny-shapes': 'mmpretrain',
    'bytetrack_rfdetr_tiny-clip': 'lap',
    'ocsort_rfdetr_tiny-clip': 'lap',
}
STEPS = 24
SEMI_STEPS = 48  # of a model that is a tenth as large

# Of what a config says, the smaller things that these tests build.
SMALL_LISTS = {
    (384, 384, 384, 384): [192, 192],
    (128, 128): [192, 192],
    (512, 1024, 2048): [64, 128, 256],
    (192, 384, 768): [48, 96, 192],
    (128, 256, 512): [32, 64, 128],
}
SMALL_NUMBERS = {1024: 32, 2048: 32}
SMALL_PARTS = {
    'WindowedDINOv2': dict(
        arch='tiny', out_indices=(0, 1), global_attn_indices=(1,)
    ),
    'MultiScaleProjector': dict(out_channels=256, num_bottlenecks=1),
    'DINOHead': dict(embed_dims=256),
    'DeformableDETRHead': dict(embed_dims=256),
    'ResNet': dict(base_channels=8),
    'SwinTransformer': dict(embed_dims=24, depths=[1, 1, 1, 1]),
    'CSPNeXt': dict(widen_factor=0.125),
}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """The demo's images, a few, and three frames of its clip."""
    folder = tmp_path_factory.mktemp('data')
    sys.path.insert(0, str(ROOT / 'demo'))
    try:
        from tiny_clip import write_clip
        from tiny_shapes import write_tiny_shapes
    finally:
        sys.path.pop(0)
    write_tiny_shapes(folder / 'tiny_shapes', dict(train=8, val=2, test=2))
    write_clip(folder / 'tiny_clip', 3)
    return folder


def read(name, data):
    """A config with its data sets in that folder; skips without its needs."""
    needed = NEEDS.get(name)
    if needed and importlib.util.find_spec(needed) is None:
        pytest.skip(f'{needed} is not installed')
    cfg = Config.fromfile(FOLDER / f'{name}.py')
    _move(cfg._cfg_dict, data)
    return cfg


def _move(node, data):
    entries = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(entries):
        if isinstance(value, str) and value.startswith('data/'):
            node[key] = str(data / value[5:]) + '/' * value.endswith('/')
        elif isinstance(value, (dict, list)):
            _move(value, data)


def shrink(node, width=32):
    """Make a model's config smaller, in place; 256 channels get a width."""
    node.update(SMALL_PARTS.get(node.get('type'), {}))
    for key, value in node.items():
        if isinstance(value, dict):
            shrink(value, width)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for child in value:
                shrink(child, width)
        elif value == [256, 256, 256]:
            node[key] = [width] * 3
        elif isinstance(value, list) and tuple(value) in SMALL_LISTS:
            node[key] = SMALL_LISTS[tuple(value)]
        elif key.endswith(('channels', 'dims')) and isinstance(value, int):
            small = {256: width, **SMALL_NUMBERS}
            node[key] = small.get(value, value)
        elif key == 'num_feats':
            node[key] = width // 2
        elif key in ('num_layers', 'num_bottlenecks', 'num_convs'):
            node[key] = 1
        elif key == 'num_queries':
            node[key] = 10


def build(cfg):
    torch.manual_seed(0)
    # Whatever DINO's width, mmdet 3.3.0 encodes its points for 256 channels.
    shrink(cfg.model, width=256 if cfg.model.type == 'DINO' else 32)
    model = MODELS.build(cfg.model)
    # As the Runner does: mmdet's level embeddings hold anything before.
    model.init_weights()
    check_num_classes(cfg, model)
    return model


def check_num_classes(cfg, model):
    """What mmdet's hook does before each epoch."""
    runner = type('Runner', (), {})()
    runner.model = model
    runner.logger = MMLogger.get_current_instance()
    runner.val_dataloader = type('Loader', (), {})()
    runner.val_dataloader.dataset = DATASETS.build(
        dict(cfg.test_dataloader.dataset, pipeline=[])
    )
    HOOKS.build(dict(type='NumClassCheckHook')).before_val_epoch(runner)


def images_of_two_sizes(loader):
    """A batch that has to be padded, from the config's own pipeline."""
    images = []
    for number, scale in enumerate([(128, 96), (96, 64)]):
        dataset = loader.dataset.to_dict()
        for step in dataset['pipeline']:
            if 'scale' in step:
                step['scale'] = scale
        images.append(DATASETS.build(dataset)[number])
    return pseudo_collate(images)


def our_parts(model):
    """Names of the parameters of this package's modules."""
    for name, module in model.named_modules():
        if type(module).__module__.startswith('rfdetr_mm.'):
            for key, param in module.named_parameters(recurse=False):
                yield f'{name}.{key}', param


@pytest.mark.parametrize('name', IMAGE_MODELS)
def test_one_step_and_detections(name, data):
    cfg = read(name, data)
    model = build(cfg).train()
    batch = images_of_two_sizes(cfg.train_dataloader)
    batch = model.data_preprocessor(batch, True)
    samples = batch['data_samples']
    assert batch['inputs'].shape == (2, 3, 96, 128)
    assert samples[1].img_shape == (64, 96) != samples[1].batch_input_shape
    loss, logged = model.parse_losses(model(**batch, mode='loss'))
    assert all(torch.isfinite(value).all() for value in logged.values())
    loss.backward()
    # A parameter without a gradient stops distributed training.
    trained = [(k, p) for k, p in our_parts(model) if p.requires_grad]
    assert [name for name, param in trained if param.grad is None] == []

    model.eval()
    with torch.no_grad():
        found = model.test_step(images_of_two_sizes(cfg.test_dataloader))
    for sample in found:
        result = sample.pred_instances
        height, width = sample.ori_shape
        assert (height, width) == (120, 160)
        limit = result.bboxes.new_tensor([width, height] * 2)
        assert (result.bboxes >= 0).all() and (result.bboxes <= limit).all()
        assert ((result.labels >= 0) & (result.labels < 12)).all()
        if cfg.test_evaluator.metric == ['bbox', 'segm']:
            assert result.masks.shape == (len(result), height, width)
    if 'rfdetr' in name or 'ia-bce' in name:
        assert len(found[0].pred_instances) > 0


def test_the_student_learns_from_what_the_teacher_finds(data):
    cfg = read(SEMI, data)
    cfg.model.semi_train_cfg.cls_pseudo_thr = 0.0  # of random weights
    labelled, others = cfg.train_dataloader.dataset.datasets
    labelled.indices, others.indices = 3, -5
    model = MODELS.build(cfg.model)
    check_num_classes(cfg, model)
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    assert [len(part) for part in loader.dataset.datasets] == [3, 5]
    batch = model.data_preprocessor(next(iter(loader)), True)
    losses = model(**batch, mode='loss')
    for name in ('loss_cls', 'loss_bbox', 'loss_iou', 'enc_loss_cls'):
        assert losses[f'sup_{name}'] > 0 and losses[f'unsup_{name}'] > 0
    model.parse_losses(losses)[0].backward()
    assert all(p.grad is None for p in model.teacher.parameters())
    student = [p for p in model.student.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in student)

    # Both start from a plain detector's file.
    weights = MODELS.build(cfg.model.detector).state_dict()
    model.load_state_dict(dict(weights))
    for part in (model.teacher, model.student):
        assert all(
            torch.equal(value, weights[key])
            for key, value in part.state_dict().items()
        )


@pytest.mark.parametrize('name', CLIPS)
def test_a_tracker_numbers_the_detections(name, data):
    """With thresholds that let detections of random weights through."""
    cfg = read(name, data)
    cfg.model.detector.test_cfg.max_per_img = 5
    for key in ('obj_score_thr', 'init_track_thr'):
        if key in cfg.model.tracker:
            cfg.model.tracker[key] = 0.0
    if 'obj_score_thrs' in cfg.model.tracker:
        cfg.model.tracker.obj_score_thrs = dict(high=0.0, low=0.0)
    model = MODELS.build(cfg.model).eval()
    frames = Runner.build_dataloader(cfg.test_dataloader, seed=0)
    assert len(frames) == 3
    for number, frame in enumerate(frames):
        with torch.no_grad():
            (video,) = model.test_step(frame)
        (sample,) = video.video_data_samples
        assert sample.frame_id == number
        tracks = sample.pred_track_instances
        assert len(tracks) > 0
        assert len(set(tracks.instances_id.tolist())) == len(tracks)
        limit = tracks.bboxes.new_tensor([160, 120] * 2)
        assert (tracks.bboxes >= 0).all() and (tracks.bboxes <= limit).all()


def test_every_config_has_a_row_in_the_readme():
    text = (FOLDER / 'README.md').read_text()
    assert [name for name in NAMES if f'({name}.py)' not in text] == []


class Losses(Hook):
    """Keeps the total of every step."""

    def __init__(self):
        self.values = []

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ):
        self.values.append(float(outputs['loss']))


def runner_of(cfg, work_dir):
    """A Runner for a few steps on four images, and its losses."""
    cfg.work_dir = str(work_dir)
    cfg.randomness = dict(seed=0)
    cfg.log_level = 'ERROR'
    cfg.experiment_name = work_dir.name
    cfg.visualizer.update(name=work_dir.name, vis_backends=[])
    cfg.default_hooks.checkpoint = None
    cfg.param_scheduler = None
    cfg.val_dataloader.dataset.indices = 2
    runner = Runner.from_cfg(cfg)
    losses = Losses()
    runner.register_hook(losses)
    return runner, losses.values


@pytest.mark.slow
@pytest.mark.parametrize('name', [*IMAGE_MODELS, SEMI])
def test_the_loss_falls(name, data, tmp_path):
    """At full size, with all hooks; then the model is validated."""
    cfg = read(name, data)
    loader = cfg.train_dataloader
    if name == SEMI:
        loader.sampler.batch_size = loader.batch_size = 4
        loader.dataset.datasets[0].indices = 2
        loader.dataset.datasets[1].indices = -2
        steps = SEMI_STEPS
        cfg.train_cfg.update(max_iters=steps, val_interval=steps)
    else:
        loader.batch_size = 4
        loader.dataset.indices = 4
        steps = STEPS
        cfg.train_cfg.update(max_epochs=steps, val_interval=steps)
    runner, losses = runner_of(cfg, tmp_path / name)
    runner.train()
    # Medians: from random weights, single steps may leap.
    first, last = median(losses[:3]), median(losses[-5:])
    print(f'{name}: {first:.3f} to {last:.3f} in {steps} steps')
    assert len(losses) == steps
    assert last < 0.97 * first


@pytest.mark.slow
def test_every_shape_of_the_clip_keeps_its_number(data, tmp_path):
    """The detector has learned the clip by heart."""
    cfg = Config.fromfile(ROOT / 'configs/rfdetr/rfdetr_tiny_shapes.py')
    _move(cfg._cfg_dict, data)
    sys.path.insert(0, str(ROOT / 'demo'))
    try:
        from tiny_clip import SHAPES, write_clip
    finally:
        sys.path.pop(0)
    clip = tmp_path / 'clip'
    write_clip(clip)
    cfg.train_dataloader.batch_size = 4
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.update(ann_file='clip.json', data_root=str(clip))
    cfg.train_dataloader.dataset.pipeline.pop(-2)  # flips
    cfg.val_evaluator.ann_file = str(clip / 'clip.json')
    cfg.train_cfg.update(max_epochs=40, val_interval=40)
    runner, losses = runner_of(cfg, tmp_path / 'detector')
    runner.train()
    weights = tmp_path / 'detector.pth'
    torch.save(dict(state_dict=runner.model.state_dict()), weights)

    cfg = read('sort_rfdetr_tiny-clip', data)
    cfg.test_dataloader.dataset.data_root = str(clip)
    cfg.model.detector.init_cfg = dict(
        type='Pretrained', checkpoint=str(weights)
    )
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.eval()
    ids = {label: [] for label in range(12)}
    frames = Runner.build_dataloader(cfg.test_dataloader, seed=0)
    for frame in frames:
        with torch.no_grad():
            (video,) = model.test_step(frame)
        tracks = video.video_data_samples[0].pred_track_instances
        for label, number in zip(tracks.labels, tracks.instances_id):
            ids[int(label)].append(int(number))
    seen = {label: numbers for label, numbers in ids.items() if numbers}
    print(f'loss {losses[0]:.2f} to {losses[-1]:.2f}; ids by class: {seen}')
    assert len(seen) == len(SHAPES)
    for numbers in seen.values():
        assert len(set(numbers)) == 1
        assert len(numbers) >= 0.9 * len(frames)
