import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from rfdetr_mm.models.data_preprocessors import (
    BatchMultiScaleResize,
    multi_scale_sizes,
)

BLOCK = dict(patch_size=8, num_windows=2)  # 16 px
SIZES = multi_scale_sizes(64, **BLOCK)  # 32 ... 144, squares
IMG_SIZE = (64, 96)  # (h, w)
WIDE_SIZES = multi_scale_sizes(IMG_SIZE, **BLOCK)  # (32, 48) ... (144, 224)
LARGEST = WIDE_SIZES[-1]


@pytest.fixture(autouse=True)
def unknown_iteration():
    MessageHub.get_current_instance().runtime_info.pop('iter', None)


def at_iteration(iteration: int) -> None:
    MessageHub.get_current_instance().update_info('iter', iteration)


def take_size(size: tuple[int, int]) -> None:
    """Go to an iteration that draws ``size``."""
    resize = BatchMultiScaleResize(IMG_SIZE, **BLOCK)
    iterations = (i for i in range(1000) if resize.size_at(i) == size)
    at_iteration(next(iterations))


def make_batch(
    shapes: list[tuple[int, int]], boxes: list[list], masks: str = ''
) -> dict:
    """Images (3, h, w) with one white rectangle for each box on black."""
    batch = dict(inputs=[], data_samples=[])
    for (height, width), image_boxes in zip(shapes, boxes):
        image = torch.zeros(3, height, width, dtype=torch.uint8)
        bitmaps = np.zeros((len(image_boxes), height, width), np.uint8)
        polygons = []
        for bitmap, (x1, y1, x2, y2) in zip(bitmaps, image_boxes):
            image[:, y1:y2, x1:x2] = 255
            bitmap[y1:y2, x1:x2] = 1
            outline = [x1, y1, x2, y1, x2, y2, x1, y2]
            polygons.append([np.array(outline, dtype=float)])
        truth = InstanceData(
            bboxes=HorizontalBoxes(
                torch.tensor(image_boxes).reshape(-1, 4).float()
            ),
            labels=torch.zeros(len(image_boxes), dtype=torch.long),
        )
        if masks == 'bitmap':
            truth.masks = BitmapMasks(bitmaps, height, width)
        elif masks == 'polygon':
            truth.masks = PolygonMasks(polygons, height, width)
        sample = DetDataSample(metainfo=dict(img_shape=(height, width)))
        sample.gt_instances = truth
        sample.ignored_instances = truth[:0]
        batch['inputs'].append(image)
        batch['data_samples'].append(sample)
    return batch


def preprocess(
    batch: dict, training: bool = True, pad_mask: bool = False
) -> tuple:
    preprocessor = MODELS.build(
        dict(
            type='DetDataPreprocessor',
            pad_size_divisor=16,
            mean=[0, 0, 0],
            std=[255, 255, 255],
            batch_augments=[
                dict(
                    type='BatchMultiScaleResize',
                    img_size=IMG_SIZE,
                    **BLOCK,
                )
            ],
            pad_mask=pad_mask,
        )
    )
    out = preprocessor(batch, training)
    return out['inputs'], out['data_samples']


@pytest.mark.parametrize(
    'img_size, patch, windows, expanded, expected',
    [
        (384, 16, 2, True, range(224, 545, 32)),
        (560, 14, 4, True, range(280, 841, 56)),
        (384, 16, 2, False, range(288, 513, 32)),
        # Two blocks at least: 64 - 5 * 16 and its likes fall out.
        (64, 8, 2, True, range(32, 145, 16)),
        (16, 8, 2, True, range(32, 97, 16)),
    ],
)
def test_square_sizes(img_size, patch, windows, expanded, expected):
    sizes = multi_scale_sizes(img_size, patch, windows, expanded)
    assert sizes == [(side, side) for side in expected]


def test_rectangle_keeps_its_shape_to_half_a_block():
    sizes = multi_scale_sizes((384, 512), 16, 2)
    assert len(sizes) == 11
    assert (384, 512) in sizes
    for height, width in sizes:
        assert height % 32 == width % 32 == 0
        assert abs(width - height * 512 / 384) <= 16
    transposed = multi_scale_sizes((512, 384), 16, 2)
    assert transposed == [size[::-1] for size in sizes]


@pytest.mark.parametrize('bad', [100, (96, 100), (0, 0), 8])
def test_bad_image_size_is_explained(bad):
    with pytest.raises(ValueError, match=r'8 \* 2 = 16 px.*nearest legal'):
        multi_scale_sizes(bad, **BLOCK)


def test_bad_interval_is_explained():
    with pytest.raises(ValueError, match='at least 1, but got 0'):
        BatchMultiScaleResize(64, **BLOCK, interval=0)


def test_every_size_is_drawn_and_nothing_but_the_iteration_counts():
    resize = BatchMultiScaleResize(64, **BLOCK)
    draws = [resize.size_at(i) for i in range(200)]
    assert set(draws) == set(SIZES)
    # Another process, another seed, another order of asking.
    other = BatchMultiScaleResize(64, **BLOCK)
    np.random.seed(5)
    torch.manual_seed(5)
    assert [other.size_at(i) for i in reversed(range(200))] == draws[::-1]


def test_largest_first_changes_the_first_draw_only():
    plain = BatchMultiScaleResize(64, **BLOCK)
    largest = BatchMultiScaleResize(64, **BLOCK, largest_first=True)
    assert largest.size_at(0) == (144, 144) != plain.size_at(0)
    for i in range(1, 50):
        assert largest.size_at(i) == plain.size_at(i)


def test_interval_shares_a_draw():
    once = BatchMultiScaleResize(64, **BLOCK)
    shared = BatchMultiScaleResize(64, **BLOCK, interval=3)
    expected = [once.size_at(i) for i in range(20) for _ in range(3)]
    assert [shared.size_at(i) for i in range(60)] == expected


@pytest.mark.parametrize('masks', ['bitmap', 'polygon'])
@pytest.mark.parametrize('size', [(32, 48), (80, 128), (144, 224)])
def test_everything_scales_together(size, masks):
    # The first image fills the batch, the others do not.
    shapes = [(144, 224), (97, 131), (101, 90)]
    boxes = [[[56, 36, 168, 108], [0, 0, 32, 48]], [[40, 8, 110, 90]], []]
    take_size(size)
    inputs, samples = preprocess(make_batch(shapes, boxes, masks))
    assert inputs.shape == (3, 3, *size)
    assert inputs.max() <= 1  # normalised before
    scale_h, scale_w = size[0] / 144, size[1] / 224
    for image, sample, shape, old in zip(inputs, samples, shapes, boxes):
        assert sample.batch_input_shape == size
        height, width = sample.img_shape
        assert height == np.ceil(shape[0] * scale_h)
        assert width == np.ceil(shape[1] * scale_w)
        truth = sample.gt_instances
        assert isinstance(truth.bboxes, torch.Tensor)
        assert len(truth.bboxes) == len(truth.masks) == len(old)
        assert (truth.masks.height, truth.masks.width) == (height, width)
        # Relative to the image nothing moves.
        torch.testing.assert_close(
            truth.bboxes / torch.tensor([width, height] * 2),
            torch.tensor(old).reshape(-1, 4)
            / torch.tensor([shape[1], shape[0]] * 2),
        )
        bright = (image[0, :height, :width] > 0.5).numpy()
        drawn = np.zeros_like(bright)
        for x1, y1, x2, y2 in truth.bboxes.round().int().tolist():
            drawn[y1:y2, x1:x2] = True
        covered = truth.masks.to_ndarray().any(0)
        outline = 2 * len(old) * (height + width)  # one pixel along it
        assert (bright != drawn).sum() <= outline
        assert (bright != covered).sum() <= outline
        assert bright.any() == bool(old)
    assert samples[2].ignored_instances.bboxes.shape == (0, 4)


def test_ignored_boxes_scale_too():
    take_size((80, 128))
    batch = make_batch([LARGEST], [[[56, 36, 168, 108]]])
    sample = batch['data_samples'][0]
    sample.ignored_instances = sample.gt_instances
    sample.gt_instances = sample.gt_instances[:0]
    _, (sample,) = preprocess(batch)
    torch.testing.assert_close(
        sample.ignored_instances.bboxes, torch.tensor([[32.0, 20, 96, 60]])
    )
    assert sample.gt_instances.bboxes.shape == (0, 4)


@pytest.mark.parametrize('size', [(32, 48), (144, 224)])
def test_pixels_are_interpolated_between_centres(size):
    take_size(size)
    batch = make_batch([LARGEST], [[]])
    columns = np.sin(np.arange(224)) * 100 + 100
    batch['inputs'] = [torch.from_numpy(columns).expand(3, *LARGEST)]
    inputs, _ = preprocess(batch)
    centres = (np.arange(size[1]) + 0.5) * 224 / size[1] - 0.5
    expected = np.interp(centres, np.arange(224), columns) / 255
    np.testing.assert_allclose(inputs[0, 0, 7], expected, atol=1e-5)


def test_padding_is_what_upstreams_nearest_mask_says():
    widths = list(range(1, 225))
    mask = torch.arange(224)[None, :] >= torch.tensor(widths)[:, None]
    for size in WIDE_SIZES:
        take_size(size)
        batch = make_batch(
            [LARGEST] + [(1, width) for width in widths], [[]] * 225
        )
        _, samples = preprocess(batch)
        resized = torch.nn.functional.interpolate(
            mask[:, None].float(), size=size[1]
        )
        expected = (resized == 0).sum(dim=-1).flatten().tolist()
        for old, sample, new in zip(widths, samples[1:], expected):
            # On a tie torch's float32 may take one pixel more.
            tie = old * size[1] % 224 == 0
            assert sample.img_shape in [(1, new), (1, new - tie)]


def test_padded_masks_fill_the_batch():
    take_size((80, 128))
    batch = make_batch(
        [LARGEST, (70, 50)], [[[8, 8, 24, 24]], [[7, 9, 35, 36]]], 'bitmap'
    )
    _, samples = preprocess(batch, pad_mask=True)
    for sample in samples:
        masks = sample.gt_instances.masks
        assert (masks.height, masks.width) == (80, 128)
    rows, columns = samples[1].gt_instances.masks.masks[0].nonzero()
    assert (columns.min(), columns.max() + 1) == (4, 20)  # times 4 / 7
    assert (rows.min(), rows.max() + 1) == (5, 20)  # times 5 / 9


def test_only_training_is_touched():
    batch = make_batch([(64, 96)], [[[8, 8, 24, 24]]])
    inputs, samples = preprocess(batch, training=False)  # needs no iteration
    assert inputs.shape == (1, 3, 64, 96)
    assert samples[0].gt_instances.bboxes.tolist() == [[8, 8, 24, 24]]


@pytest.mark.parametrize('hw', [(64, 96), (224, 144), (160, 240)])
def test_other_sizes_than_the_largest_are_explained(hw):
    at_iteration(0)
    expected = rf'144 x 224 .* got a batch of {hw[0]} x {hw[1]}.*\(224, 144\)'
    with pytest.raises(ValueError, match=expected):
        preprocess(make_batch([hw], [[]]))


def test_unknown_iteration_is_explained():
    with pytest.raises(RuntimeError, match="update_info.'iter', i.*None"):
        preprocess(make_batch([LARGEST], [[]]))


class Recorder(BaseModel):
    """Notes the size of every batch that the preprocessor gives it."""

    def __init__(self) -> None:
        super().__init__(
            dict(
                type='mmdet.DetDataPreprocessor',
                pad_size_divisor=16,
                batch_augments=[
                    dict(
                        type='mmdet.BatchMultiScaleResize',
                        img_size=64,
                        **BLOCK,
                    )
                ],
            )
        )
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def forward(self, inputs, data_samples, mode):
        self.seen.append(tuple(inputs.shape[-2:]))
        return dict(loss=self.weight * inputs.mean())


def train(work_dir, max_epochs: int, resume: bool) -> list[tuple[int, int]]:
    batches = [make_batch([(144, 144)], [[]]) for _ in range(6)]
    items = [
        dict(inputs=b['inputs'][0], data_samples=b['data_samples'][0])
        for b in batches
    ]
    model = Recorder()
    runner = Runner(
        model,
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=items,
            batch_size=2,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=max_epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        resume=resume,
        log_level='ERROR',
        experiment_name=f'{work_dir.name}-{max_epochs}-{resume}',
    )
    runner.train()
    return model.seen


def test_resumed_run_takes_the_sizes_of_the_whole_one(tmp_path):
    expected = [
        BatchMultiScaleResize(64, **BLOCK).size_at(i) for i in range(9)
    ]
    assert len(set(expected)) > 3
    assert train(tmp_path / 'whole', 3, resume=False) == expected
    assert train(tmp_path / 'parts', 2, resume=False) == expected[:6]
    assert train(tmp_path / 'parts', 3, resume=True) == expected[6:]
