"""Configs whose images have several sizes or are no squares."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MessageHub
from mmengine.registry import DefaultScope

from tests.data_factory import CLASSES, COLOURS, write_coco

ROOT = Path(__file__).parents[2] / 'configs/rfdetr'
BLOCK = 32
SIZES = [(75, 130), (130, 75), (60, 60), (50, 170)]  # (h, w) of the images
EMPTY = 2


@pytest.fixture(autouse=True, scope='module')
def mmdet_scope():
    """Look names up in mmdet's registries, as a Runner does."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(scope='module')
def data_root(tmp_path_factory) -> str:
    root = tmp_path_factory.mktemp('coco') / 'set'
    return str(write_coco(root, SIZES, (EMPTY,), objects_per_image=1, seed=3))


def load(name: str) -> Config:
    return Config.fromfile(ROOT / f'rfdetr_nano_{name}_coco.py')


def build_dataset(loader: Config, data_root: str):
    loader.dataset.update(
        data_root=data_root,
        ann_file='annotations.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=CLASSES),
    )
    return DATASETS.build(loader.dataset)


def build_model(cfg: Config):
    cfg.model.bbox_head.update(num_classes=2, num_queries=6, num_groups=2)
    torch.manual_seed(0)
    return MODELS.build(cfg.model)


def preprocess(cfg: Config, samples: list[dict], training: bool) -> dict:
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    return preprocessor(pseudo_collate(samples), training)


def coloured_box(image: torch.Tensor, label: int, cfg: Config) -> list[float]:
    """Where a normalised image (3, h, w) shows the colour of a class."""
    mean, std = (
        torch.tensor(cfg.model.data_preprocessor[key])[:, None, None]
        for key in ('mean', 'std')
    )
    colour = torch.tensor(COLOURS[label])[:, None, None]
    hits = ((image * std + mean - colour).abs() < 45).all(dim=0)
    rows, columns = hits.nonzero().unbind(1)
    return [
        columns.min().item(),
        rows.min().item(),
        columns.max().item() + 1,
        rows.max().item() + 1,
    ]


def test_sizes_are_drawn_for_each_image(data_root):
    cfg = load('per-sample-multi-scale')
    assert cfg.train_pipeline == cfg.train_dataloader.dataset.pipeline
    dataset = build_dataset(cfg.train_dataloader, data_root)
    np.random.seed(0)
    seen = {
        tuple(dataset[draw % 4]['inputs'].shape[1:]) for draw in range(120)
    }
    assert seen == {(side, side) for side in range(224, 545, BLOCK)}


@pytest.mark.parametrize(
    'variant, sizes',
    [
        ('nano', range(224, 545, 32)),
        ('small', range(352, 673, 32)),
        ('medium', range(416, 737, 32)),
        ('large', range(544, 865, 32)),
        ('base', range(280, 841, 56)),
        ('large-deprecated', range(280, 841, 56)),
        ('xlarge', range(600, 801, 20)),
        ('2xlarge', range(680, 1081, 40)),
    ],
)
def test_multi_scale_of_any_variant(variant, sizes, tmp_path):
    text = (ROOT / 'rfdetr_nano_multi-scale_coco.py').read_text()
    assert text.count('./rfdetr_nano_coco.py') == 1
    base = ROOT / f'rfdetr_{variant}_coco.py'
    text = text.replace('./rfdetr_nano_coco.py', str(base))
    (tmp_path / 'mine.py').write_text(text)
    cfg = Config.fromfile(tmp_path / 'mine.py')
    (resize,) = MODELS.build(cfg.model.data_preprocessor).batch_augments
    assert [height for height, _ in resize.sizes] == list(sizes)
    pipeline = cfg.train_dataloader.dataset.pipeline
    assert pipeline == cfg.train_pipeline
    assert pipeline[3].scale == resize.sizes[-1] == resize.size_at(0)
    # Validation and inference keep the size of the variant.
    image_size = Config.fromfile(base).image_size
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.pipeline[1].scale == (image_size,) * 2


def test_multi_scale_changes_the_batch_after_the_first(data_root):
    cfg = load('multi-scale')
    dataset = build_dataset(cfg.train_dataloader, data_root)
    samples = [dataset[i] for i in (0, EMPTY)]
    shapes = []
    for iteration in range(4):
        MessageHub.get_current_instance().update_info('iter', iteration)
        batch = preprocess(cfg, copy.deepcopy(samples), training=True)
        shapes.append(tuple(batch['inputs'].shape[2:]))
        for sample in batch['data_samples']:
            assert sample.img_shape == shapes[-1]
    assert shapes[0] == (544, 544) and len(set(shapes)) > 2


@pytest.mark.parametrize(
    'name, expected',
    [
        ('rect', [(384, 512)] * 4),
        # As large as fits into 384 x 512 or 512 x 384.
        ('keep-ratio', [(295, 512), (512, 295), (384, 384), (151, 512)]),
    ],
)
def test_images_have_the_shape_that_is_asked_for(name, expected, data_root):
    cfg = load(name)
    dataset = build_dataset(cfg.val_dataloader, data_root)
    assert [s['data_samples'].img_shape for s in dataset] == expected
    batch = preprocess(cfg, list(dataset), training=False)
    largest = [-(-max(sides) // BLOCK) * BLOCK for sides in zip(*expected)]
    assert batch['inputs'].shape == (4, 3, *largest)
    for image, (height, width) in zip(batch['inputs'], expected):
        assert not image[:, height:].any() and not image[:, :, width:].any()
        assert image[:, :height, :width].any()


@pytest.mark.parametrize('name', ['rect', 'keep-ratio'])
def test_predictions_are_in_pixels_of_the_original(name, data_root):
    """What lies on the drawn object in the input lies on it in the file."""
    cfg = load(name)
    dataset = build_dataset(cfg.val_dataloader, data_root)
    head = build_model(cfg).bbox_head
    samples = [s for i, s in enumerate(dataset) if i != EMPTY]
    batch = preprocess(cfg, samples, training=False)
    for image, sample in zip(batch['inputs'], batch['data_samples']):
        truth = sample.gt_instances  # loaded after resizing: of the file
        label = truth.labels.item()
        height, width = sample.img_shape
        x1, y1, x2, y2 = coloured_box(image, label, cfg)
        box = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
        preds = torch.tensor(box) / torch.tensor([width, height] * 2)
        (result,) = head.predict_by_feat(
            torch.zeros(1, 1, 1, 2),
            preds.expand(1, 1, 1, 4),
            [sample.metainfo],
        )
        torch.testing.assert_close(
            result.bboxes[:1], truth.bboxes, atol=1.0, rtol=0
        )


@pytest.mark.parametrize(
    'name', ['per-sample-multi-scale', 'multi-scale', 'rect', 'keep-ratio']
)
def test_trains_a_step_and_predicts(name, data_root):
    cfg = load(name)
    np.random.seed(4)
    MessageHub.get_current_instance().update_info('iter', 0)
    dataset = build_dataset(cfg.train_dataloader, data_root)
    # Only the first tapped block, to be quick.
    cfg.model.backbone.update(out_indices=(0,), global_attn_indices=())
    cfg.model.neck.in_channels = [384]
    model = build_model(cfg)
    batch = preprocess(cfg, [dataset[1], dataset[EMPTY]], training=True)
    assert all(side % BLOCK == 0 for side in batch['inputs'].shape[2:])
    losses = model(**batch, mode='loss')
    total = sum(value for key, value in losses.items() if 'loss' in key)
    total.backward()
    assert torch.isfinite(total)
    gradient = model.backbone.patch_embed.weight.grad
    assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0

    model.eval()
    dataset = build_dataset(cfg.val_dataloader, data_root)
    batch = preprocess(cfg, [dataset[0], dataset[1]], training=False)
    results = model(**batch, mode='predict')
    for sample, (height, width) in zip(results, SIZES):
        boxes = sample.pred_instances.bboxes
        assert len(boxes) == 12  # 6 queries with 2 classes
        limit = boxes.new_tensor([width, height] * 2)
        assert (boxes >= 0).all() and (boxes <= limit + 1e-3).all()


DETECTION = sorted(
    path.name
    for path in ROOT.glob('*.py')
    # Those of the drawn shapes have small images and crop none.
    if 'shapes' not in path.name
)


@pytest.mark.parametrize('name', DETECTION)
def test_no_file_is_decoded_smaller_than_it_is_used(name):
    """The largest scale, and the largest short side before the crop."""
    load, _, crop, resize, *_ = Config.fromfile(ROOT / name).train_pipeline
    scales = resize.get('scales') or [resize.scale]
    sides = [side for scale in scales for side in scale]
    sides += [min(scale) for scale in crop.transforms[0].scales]
    assert load.draft_size == max(sides)


@pytest.mark.parametrize('name', DETECTION)
def test_only_training_reads_and_resizes_fast(name):
    cfg = Config.fromfile(ROOT / name)
    _, _, crop, resize, *_ = cfg.train_pipeline
    assert resize.kernel == crop.transforms[0].kernel == 'training'
    load, resize, *_ = cfg.test_pipeline
    assert resize.kernel == 'validation' and 'draft_size' not in load
