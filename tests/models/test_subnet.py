"""A supernet's parts equal models that were built as such."""

import copy
from collections import Counter
from functools import lru_cache

import pytest
import torch
from mmdet.structures.mask import BitmapMasks

from rfdetr_mm.errors import InputError
from rfdetr_mm.models import SearchSpace, Subnet
from rfdetr_mm.models.layers.patch_kernel import resize_patch_kernel
from tests.small_detector import batch, build

FULL = '64x96-p16-w2-d3-q6'
TABLE_SIDE = 4  # of the small detector
# One for each knob, then all of them.
POINTS = [
    FULL,
    '96x128-p16-w2-d3-q6',
    '72x96-p12-w2-d3-q6',
    '80x120-p20-w1-d3-q6',
    '64x96-p16-w1-d3-q6',
    '64x128-p16-w4-d3-q6',
    '64x96-p16-w2-d2-q6',
    '64x96-p16-w2-d0-q6',
    '64x96-p16-w2-d3-q2',
    '96x96-p12-w4-d1-q4',
    '112x168-p28-w2-d0-q3',
]
SPACE = SearchSpace(
    resolutions=tuple((side, side) for side in range(320, 961, 64)),
    patch_sizes=(12, 14, 16, 18, 20, 24, 28),
    num_windows=(1, 2, 4),
    num_decoder_layers=tuple(range(7)),
    num_queries=(50, 100, 200, 300),
)


@lru_cache
def built(task):
    return make(task)


def supernet_of(task):
    return copy.deepcopy(built(task))


def make(task, subnet=FULL):
    """A model of the shape of a sub-network, built from scratch."""
    subnet = Subnet.parse(subnet)
    options = {
        'data_preprocessor.pad_size_divisor': 1,
        'backbone.patch_size': subnet.patch_size,
        'backbone.num_windows': subnet.num_windows,
        'backbone.img_size': TABLE_SIDE * subnet.patch_size,
        'bbox_head.num_queries': subnet.num_queries,
        'bbox_head.decoder.num_layers': subnet.num_decoder_layers,
    }
    if task == 'segmentation':
        options['bbox_head.type'] = 'RFDETRInsHead'
        options['bbox_head.mask_upsample_ratio'] = subnet.patch_size / 4
    return build(options)[0]


def transfer(supernet, fixed):
    """Give a fixed model the part of the supernet's weights it has."""
    weights = {
        key: value
        for key, value in supernet.state_dict().items()
        if key in fixed.state_dict()
    }
    key = 'backbone.patch_embed.weight'
    weights[key] = resize_patch_kernel(
        weights[key], fixed.backbone.patch_embed.kernel_size[0]
    )
    fixed.load_state_dict(weights)


def images(subnet, size=2):
    return torch.randn(size, 3, *Subnet.parse(subnet).resolution)


@pytest.mark.parametrize('task', ['detection', 'segmentation'])
@pytest.mark.parametrize('name', POINTS)
def test_part_equals_a_model_of_its_shape(task, name):
    supernet, fixed = supernet_of(task), make(task, name)
    transfer(supernet, fixed)
    keys = list(supernet.state_dict())
    supernet.set_subnet(name)
    assert list(supernet.state_dict()) == keys
    x = images(name)
    for training in (True, False):
        supernet.train(training), fixed.train(training)
        actual, expected = supernet(x), fixed(x)
        assert len(actual) == (3 if task == 'segmentation' else 2)
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    depth = Subnet.parse(name).num_decoder_layers
    queries = Subnet.parse(name).num_queries
    assert actual[0].shape[:3] == (max(depth, 1), 2, queries)
    if task == 'segmentation':
        height, width = Subnet.parse(name).resolution
        assert actual[2].shape[-2:] == (height // 4, width // 4)


@pytest.mark.parametrize('name', ['80x120-p20-w1-d1-q4', '64x96-p16-w2-d0-q6'])
def test_part_has_the_losses_and_detections_of_its_shape(name):
    """Losses, gradients and predictions, with an image without objects."""
    supernet, fixed = supernet_of('detection'), make('detection', name)
    transfer(supernet, fixed)
    supernet.set_subnet(name)
    hw = Subnet.parse(name).resolution
    results = []
    for model in (supernet, fixed):
        data = model.data_preprocessor(batch(3, [3, 0], hw), True)
        losses, _ = model.parse_losses(model(**data, mode='loss'))
        losses.backward()
        grads = [
            model.get_parameter(key).grad
            for key in ('neck.norms.0.weight', 'backbone.pos_embed')
        ]
        model.eval()
        data = model.data_preprocessor(batch(3, [3, 0], hw))
        detections = [
            [s.pred_instances.bboxes, s.pred_instances.scores]
            for s in model(**data, mode='predict')
        ]
        results.append([losses, *grads, *detections])
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-4)


def test_without_decoder_layers_the_proposals_are_the_detections():
    model = supernet_of('segmentation')
    model.set_subnet('64x96-p16-w2-d0-q4')
    data = model.data_preprocessor(batch(5, [2, 1]), True)
    for sample in data['data_samples']:
        count = len(sample.gt_instances)
        sample.gt_instances.masks = BitmapMasks(
            torch.ones(count, 64, 96, dtype=torch.uint8).numpy(), 64, 96
        )
    losses = model(**data, mode='loss')
    assert {k for k in losses if 'loss' in k} == {
        f'loss_{name}' for name in ('cls', 'bbox', 'iou', 'mask', 'dice')
    }
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    head = model.bbox_head
    assert all(p.grad is None for p in head.decoder.parameters())
    assert head.query_selector.cls_branch.weight.grad is not None
    feats = model.extract_feat(data['inputs'])
    _, results = head.loss_and_predict(feats, data['data_samples'])
    model.eval()
    expected = head.predict(feats, data['data_samples'], rescale=False)
    for result, other in zip(results, expected):
        assert torch.equal(result.bboxes, other.bboxes)
        assert torch.equal(result.masks, other.masks)


def test_supernet_is_itself_again():
    model = supernet_of('segmentation').eval()
    x = images(FULL)
    before = model(x)
    for name in POINTS:
        model.set_subnet(name)
        model.load_state_dict(model.state_dict())
    model.set_subnet(FULL)
    assert str(model.subnet) == FULL
    torch.testing.assert_close(model(x), before, atol=0, rtol=0)


def test_is_a_part_from_the_start_by_config():
    name = '72x96-p12-w2-d1-q4'
    model = build({'subnet': name})[0]
    assert model.subnet == Subnet((72, 96), 12, 2, 1, 4)
    assert model.backbone.patch_size == 12
    assert model.backbone.patch_embed.kernel_size == (16, 16)


def test_test_cfg_cuts_layers_and_queries_in_evaluation_only():
    full = supernet_of('detection')
    cut = build(
        {
            'bbox_head.decoder.num_layers': 3,
            'test_cfg.num_layers': 1,
            'test_cfg.num_queries': 4,
        }
    )[0]
    cut.load_state_dict(full.state_dict())
    x = images(FULL)
    torch.testing.assert_close(cut(x), full(x), atol=0, rtol=0)
    full.set_subnet('64x96-p16-w2-d1-q4')
    actual, expected = cut.eval()(x), full.eval()(x)
    torch.testing.assert_close(actual, expected, atol=0, rtol=0)
    assert actual[0].shape[:3] == (1, 2, 4)


@pytest.mark.parametrize(
    'options, words',
    [
        ({'num_layers': 4}, 'num_layers.*between 0 and the 3.*got 4'),
        ({'num_layers': -1}, 'num_layers.*between 0 and the 3.*got -1'),
        ({'num_queries': 7}, 'num_queries.*between 1 and the 6.*got 7'),
        ({'num_queries': 0}, 'num_queries.*between 1 and the 6.*got 0'),
    ],
)
def test_test_cfg_that_wants_more_is_refused(options, words):
    model = supernet_of('detection').eval()
    model.bbox_head.test_cfg = options
    with pytest.raises(ValueError, match=words):
        model(images(FULL))


@pytest.mark.parametrize(
    'name, words',
    [
        (
            '64x100-p16-w2-d3-q6',
            ['16 * 2 = 32 px', '100 = 3 * 32 + 4', '64 x 96'],
        ),
        (
            '64x96-p16-w4-d3-q6',
            ['16 * 4 = 64', '96 = 1 * 64 + 32', '64 x 128'],
        ),
        ('64x96-p16-w2-d5-q6', ['3 decoder layers, 2 fewer than the 5']),
        ('64x96-p16-w2-d3-q9', ['6 queries, 3 fewer than the 9']),
        ('64x96-p0-w2-d3-q6', ['patch_size', 'at least 1, got 0']),
        ('64x96-p16-w2-d3-q0', ['num_queries', 'at least 1, got 0']),
        ('0x96-p16-w2-d3-q6', ['height', 'at least 1, got 0']),
        ('64-p16-w2-d3-q6', ["'64-p16-w2-d3-q6'", 'HEIGHTxWIDTH', '384x512']),
    ],
)
def test_impossible_parts_are_refused_and_nothing_changes(name, words):
    model = supernet_of('detection').eval()
    x = images(FULL)
    before = model(x)
    with pytest.raises(InputError) as error:
        model.set_subnet(name)
    for word in words:
        assert word in str(error.value)
    torch.testing.assert_close(model(x), before, atol=0, rtol=0)
    assert model.subnet is None


@pytest.mark.parametrize(
    'nominal, real',
    [
        ('384x512-p16-w2-d3-q300', '384x512-p16-w2-d3-q300'),
        ('576x576-p14-w4-d3-q300', '560x560-p14-w4-d3-q300'),  # Base
        ('704x704-p20-w1-d5-q300', '700x700-p20-w1-d5-q300'),  # XLarge
        ('896x896-p20-w2-d5-q300', '880x880-p20-w2-d5-q300'),  # 2XLarge
        ('48x32-p16-w2-d3-q6', '64x32-p16-w2-d3-q6'),  # half a block is up
        ('10x10-p28-w4-d3-q6', '112x112-p28-w4-d3-q6'),  # one block at least
    ],
)
def test_sizes_are_rounded_to_blocks(nominal, real):
    assert str(Subnet.parse(nominal)) == nominal
    assert str(Subnet.parse(nominal).rounded()) == real


def test_paper_sized_space():
    assert len(SPACE) == len(set(SPACE)) == 6468
    points = [point.rounded() for point in SPACE]
    for point in points:
        assert not any(side % point.block for side in point.resolution)
    assert max(p.resolution for p in points) == SPACE.largest_size()
    assert SPACE.largest_size() == (1008, 1008)
    assert str(SPACE.largest()) == '960x960-p12-w1-d6-q300'


def test_draws_are_uniform_and_independent():
    draws = [SPACE.draw(step) for step in range(12000)]
    for name in SPACE.__dataclass_fields__:
        knob = dict(resolutions='resolution', patch_sizes='patch_size').get(
            name, name
        )
        values = getattr(SPACE, name)
        counts = Counter(getattr(draw, knob) for draw in draws)
        assert set(counts) == set(values)
        expected = len(draws) / len(values)
        # 5 sigma of a binomial count
        assert all(
            abs(n - expected) < 5 * expected**0.5 for n in counts.values()
        )
    pairs = Counter((d.patch_size, d.num_decoder_layers) for d in draws)
    expected = len(draws) / 49
    assert len(pairs) == 49
    assert all(abs(n - expected) < 5 * expected**0.5 for n in pairs.values())


def test_draws_depend_on_step_and_seed_alone():
    draws = [str(SPACE.draw(step)) for step in range(5)]
    assert draws == [str(SPACE.draw(step)) for step in range(5)]
    assert len(set(draws)) == 5
    assert draws != [str(SPACE.draw(step, seed=1)) for step in range(5)]


@pytest.mark.parametrize(
    'change, words',
    [
        (lambda c: c.pop('num_queries'), 'entries.*num_queries.*got'),
        (lambda c: c.update(depth=[1]), 'got.*depth'),
        (lambda c: c.update(num_windows=[]), 'num_windows.*at least one'),
        (lambda c: c.update(patch_sizes=[12, 12]), 'patch_sizes.*each once'),
    ],
)
def test_wrong_space_is_refused(change, words):
    config = dict(
        resolutions=[320, (384, 512)],
        patch_sizes=[16],
        num_windows=[1, 2],
        num_decoder_layers=[0, 3],
        num_queries=[100],
    )
    space = SearchSpace.from_config(copy.deepcopy(config))
    assert len(space) == 8
    assert space.largest_size() == (384, 512)
    change(config)
    with pytest.raises(InputError, match=words):
        SearchSpace.from_config(config)
