import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, HOOKS, MODELS
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.registry import DefaultScope

import rfdetr_mm  # noqa: F401
from tests.data_factory import CLASSES, COLOURS, write_coco

ROOT = Path(__file__).parents[2] / 'configs'
# Variant: image size and, with the class rows of upstream's configuration,
# parameters; from embed_dims and rows follows the count for 80 classes.
VARIANTS = {
    'seg_nano': (312, 33_577_475, 256, 91),
    'seg_small': (384, 33_711_107, 256, 91),
    'seg_medium': (432, 35_694_259, 256, 91),
    'seg_large': (504, 35_873_971, 256, 91),
    'seg_xlarge': (624, 38_113_635, 256, 91),
    'seg_2xlarge': (768, 38_648_163, 256, 91),
    'seg_preview': (432, 34_153_555, 256, 91),
    'nano': (384, 30_467_298, 256, 91),
    'small': (512, 32_111_170, 256, 91),
    'medium': (576, 33_687_458, 256, 91),
    'large': (704, 33_933_218, 256, 91),
    'base': (560, 32_174_530, 256, 91),
    'large-deprecated': (560, 135_637_474, 384, 91),
    'xlarge': (700, 128_332_204, 512, 366),
    '2xlarge': (880, 128_878_252, 512, 366),
}
SEG_QUERIES = {
    'seg_nano': 100,
    'seg_small': 100,
    'seg_medium': 200,
    'seg_large': 200,
    'seg_xlarge': 300,
    'seg_2xlarge': 300,
    'seg_preview': 200,
}
FILES = sorted(
    file
    for family in ('rfdetr', 'rfdetr_seg', 'rfdetr_pose')
    for file in ROOT.glob(f'{family}/*.py')
)
ALL_FILES = sorted(ROOT.glob('**/*.py'))


@pytest.fixture(autouse=True, scope='module')
def mmdet_scope():
    """Look names up in mmdet's registries, as a Runner does."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def variant_file(name: str) -> Path:
    if name.startswith('seg_'):
        return ROOT / 'rfdetr_seg' / f'rfdetr-{name}_coco.py'
    return ROOT / 'rfdetr' / f'rfdetr_{name}_coco.py'


def bases(file: Path) -> list[Path]:
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == '_base_':
            names = ast.literal_eval(node.value)
            names = [names] if isinstance(names, str) else names
            own = [name for name in names if '::' not in name]
            return [(file.parent / name).resolve() for name in own]
    return []


def depth(file: Path) -> int:
    return max((1 + depth(base) for base in bases(file)), default=0)


def find(node, key: str) -> list:
    """Values of ``key`` at any depth of a config."""
    found = []
    if isinstance(node, dict):
        found += [node[key]] if key in node else []
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            found += find(child, key)
    return found


def test_the_fifteen_variants_are_there():
    assert len(VARIANTS) == 15
    assert {variant_file(name) for name in VARIANTS} <= set(FILES)


@pytest.mark.parametrize('name', VARIANTS)
def test_parameter_count(name):
    _, params, embed_dims, rows = VARIANTS[name]
    cfg = Config.fromfile(variant_file(name))
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    # One final and 13 proposal classifiers, each row with its bias.
    expected = params - (rows - 80) * (embed_dims + 1) * (1 + 13)
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize('name', VARIANTS)
def test_image_size_reaches_every_pipeline(name):
    size = VARIANTS[name][0]
    cfg = Config.fromfile(variant_file(name))
    pipelines = [cfg.train_pipeline, cfg.test_pipeline] + [
        loader.dataset.pipeline
        for loader in (
            cfg.train_dataloader,
            cfg.val_dataloader,
            cfg.test_dataloader,
        )
    ]
    for pipeline in pipelines:
        scales = [t.scale for t in pipeline if t.type == 'RFDETRResize']
        assert scales == [(size, size)]
    assert cfg.train_pipeline == cfg.train_dataloader.dataset.pipeline
    assert cfg.test_pipeline == cfg.val_dataloader.dataset.pipeline
    assert cfg.test_pipeline == cfg.test_dataloader.dataset.pipeline


@pytest.mark.parametrize('name', VARIANTS)
def test_numbers_fit_together(name):
    size = VARIANTS[name][0]
    cfg = Config.fromfile(variant_file(name))
    backbone, head = cfg.model.backbone, cfg.model.bbox_head
    block = backbone.patch_size * backbone.num_windows
    assert size % block == 0
    assert cfg.model.data_preprocessor.pad_size_divisor == block
    assert (cfg.patch_size, cfg.num_windows) == (
        backbone.patch_size,
        backbone.num_windows,
    )
    assert backbone.img_size % backbone.patch_size == 0
    max_per_img = cfg.model.test_cfg.max_per_img
    assert max_per_img <= head.num_queries * head.num_classes
    if name in SEG_QUERIES:
        assert cfg.tta_model is None  # would merge boxes alone
        assert SEG_QUERIES[name] == max_per_img == head.num_queries
    else:
        assert cfg.tta_model.tta_cfg.max_per_img == max_per_img
    assert cfg.num_queries == head.num_queries
    assert len(cfg.model.neck.in_channels) == len(backbone.out_indices)
    assert cfg.model.neck.out_channels == head.embed_dims
    assert len(cfg.model.neck.scale_factors) == head.decoder.num_levels
    for heads in ('self_attn_num_heads', 'cross_attn_num_heads'):
        assert head.embed_dims % head.decoder[heads] == 0


@pytest.mark.parametrize('name', VARIANTS)
def test_num_classes_has_one_place(name):
    cfg = Config.fromfile(variant_file(name))
    assert find(cfg._cfg_dict.to_dict(), 'num_classes') == [80]
    assert cfg.load_from is None


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_variant_files_are_short_and_shallow(file):
    lines = [line for line in file.read_text().splitlines() if line.strip()]
    code = [line for line in lines if not line.startswith('#')]
    # The demo's is a model and a data set of its own.
    assert len(code) <= (80 if '_tiny_' in file.stem else 25)
    # These change another config that can be trained.
    derived = file.stem.endswith(
        ('_custom', '_bf16', '-probe', '_part-2')
    )
    assert depth(file) <= 2 + derived


@pytest.mark.parametrize(
    'file', ALL_FILES, ids=lambda file: str(file.relative_to(ROOT))
)
def test_files_are_portable(file):
    text = file.read_text()
    assert 'lambda' not in text
    assert not re.search(r'[\'"](/|~|[A-Za-z]:\\)', text), 'absolute path'
    assert all(base.is_file() for base in bases(file))


@pytest.mark.parametrize('name', SEG_QUERIES)
def test_masks_reach_every_part(name):
    cfg = Config.fromfile(variant_file(name))
    head = cfg.model.bbox_head
    assert head.type == 'RFDETRInsHead'
    # Four pixels of the input to a mask cell, as upstream.
    assert head.mask_upsample_ratio * 4 == cfg.model.backbone.patch_size
    assert cfg.model.data_preprocessor.pad_mask
    assert [cost.type for cost in cfg.model.train_cfg.assigner.match_costs][
        3:
    ] == ['CrossEntropyLossCost', 'DiceCost']
    load = cfg.train_dataloader.dataset.pipeline[1]
    assert load.type == 'LoadAnnotations' and load.with_mask
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        assert evaluator.metric == ['bbox', 'segm']
    assert cfg.default_hooks.checkpoint.save_best == 'coco/segm_mAP'
    assert cfg.default_hooks.checkpoint.type == 'SafeCheckpointHook'


def test_the_package_is_imported_by_one_file_of_each_kind():
    importers = {f for f in ALL_FILES if 'custom_imports' in f.read_text()}
    assert importers == {
        ROOT / '_base_' / 'default_runtime.py',
        ROOT / 'deploy' / '_base_' / 'detection.py',
    }


def test_configs_are_read_from_any_folder(tmp_path, monkeypatch):
    direct = Config.fromfile(variant_file('nano'))
    monkeypatch.chdir(ROOT / 'rfdetr')
    relative = Config.fromfile('rfdetr_nano_coco.py')
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine.py').write_text(f'_base_ = {str(direct.filename)!r}\n')
    derived = Config.fromfile('mine.py')
    assert direct._cfg_dict == relative._cfg_dict == derived._cfg_dict
    dumped = tmp_path / 'dumped.py'
    direct.dump(dumped)
    assert Config.fromfile(dumped)._cfg_dict == direct._cfg_dict


def test_one_option_switches_the_kernel():
    cfg = Config.fromfile(variant_file('nano'))
    cfg.merge_from_dict(
        {'test_dataloader.dataset.pipeline.1.kernel': 'predict'}
    )
    resize = cfg.test_dataloader.dataset.pipeline[1]
    assert (resize.type, resize.kernel) == ('RFDETRResize', 'predict')


def test_average_of_weights_is_upstreams():
    cfg = Config.fromfile(variant_file('nano'))
    (options,) = [h for h in cfg.custom_hooks if 'EMA' in h.type]
    hook = HOOKS.build(options)
    assert isinstance(hook, EMAHook)
    model = torch.nn.BatchNorm1d(1, dtype=torch.float64)
    average = MODELS.build(hook.ema_cfg, default_args=dict(model=model))
    kept = 0.0
    expected = 1.0
    for n in range(1, 300):
        value = np.sin(n)
        model.weight.data.fill_(value)
        model.running_var.fill_(value)
        average.update_parameters(model)
        expected = kept * expected + (1 - kept) * value
        kept = 0.993 * (1 - np.exp(-(n + 1) / 100))
        assert average.module.weight.item() == pytest.approx(
            expected, abs=1e-9
        )
    assert average.module.running_var.item() == pytest.approx(
        expected, abs=1e-9
    )


@pytest.mark.parametrize('name', ['nano', 'base'])
def test_recipe_is_upstreams(name):
    cfg = Config.fromfile(variant_file(name))
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=0.1, norm_type=2)
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (100, 1)
    (schedule,) = cfg.param_scheduler
    assert (schedule.type, schedule.warmup, schedule.drop) == (
        'WarmupStepLR',
        0,
        100,
    )
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr) == ('AdamW', 1e-4)
    assert cfg.default_hooks.checkpoint.type == 'SafeCheckpointHook'


@pytest.mark.parametrize(
    ('name', 'changes'),
    [
        ('bf16', dict(type='AutocastOptimWrapper', dtype='bfloat16')),
        (
            'fp16',
            dict(
                type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic'
            ),
        ),
    ],
)
def test_mixed_precision_is_the_same_recipe(name, changes):
    folder = ROOT / '_base_/schedules'
    plain = Config.fromfile(folder / 'adamw_100e.py').optim_wrapper
    mixed = Config.fromfile(folder / f'adamw_{name}_100e.py').optim_wrapper
    assert mixed == dict(plain, **changes)


def test_nano_in_bfloat16_is_otherwise_nano():
    plain = Config.fromfile(ROOT / 'rfdetr/rfdetr_nano_custom.py')
    mixed = Config.fromfile(ROOT / 'rfdetr/rfdetr_nano_bf16.py')
    plain.optim_wrapper.update(type='AutocastOptimWrapper', dtype='bfloat16')
    assert mixed.to_dict() == plain.to_dict()


def test_the_cosine_replaces_the_steps():
    cfg = Config.fromfile(ROOT / '_base_/schedules/adamw_cosine_100e.py')
    (schedule,) = cfg.param_scheduler
    assert schedule.type == 'WarmupCosineLR'
    assert cfg.train_cfg.max_epochs == 100


@pytest.fixture(scope='module')
def train_set(tmp_path_factory):
    root = write_coco(
        tmp_path_factory.mktemp('coco') / 'set',
        [(60, 90), (90, 60), (50, 50), (64, 120)],
        empty=(2,),
        objects_per_image=1,
    )
    cfg = Config.fromfile(variant_file('nano'))
    dataset = cfg.train_dataloader.dataset
    dataset.pipeline[3].scale = (96, 96)
    dataset.update(
        data_root=str(root),
        ann_file='annotations.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=CLASSES),
    )
    return DATASETS.build(dataset)


def test_train_pipeline_keeps_images_without_objects(train_set):
    assert len(train_set) == 4
    empty = train_set[2]['data_samples'].gt_instances
    assert empty.bboxes.tensor.shape == (0, 4)


def test_train_pipeline_moves_boxes_with_the_pixels(train_set):
    np.random.seed(0)
    boxes = []
    for draw in range(40):
        sample = train_set[draw % 4]
        image = sample['inputs']
        assert image.shape == (3, 96, 96)
        truth = sample['data_samples'].gt_instances
        for box, label in zip(truth.bboxes.tensor, truth.labels):
            assert box.min() >= 0 and box.max() <= 96
            if (box[2:] - box[:2]).min() < 3:
                continue  # a crop left a sliver: mixed pixels
            x, y = ((box[:2] + box[2:]) / 2).long().tolist()
            rgb = image[:, y, x].flip(0).int()
            assert (rgb - torch.tensor(COLOURS[label])).abs().max() < 40
            boxes.append(tuple(box.tolist()))
    # Flips and crops: far more boxes than the three objects times two flips.
    assert len(set(boxes)) > 10
