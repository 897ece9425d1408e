import pytest
import torch

from rfdetr_mm.checkpoints.class_rows import (
    CLASS_ROW_WEIGHTS,
    COCO_CATEGORY_IDS,
    COCO_CLASSES,
    choose_our_rows,
    choose_upstream_rows,
    resize_class_rows,
    scatter_rows,
    take_class_rows,
    take_rows,
)
from rfdetr_mm.errors import InputError


def test_coco_constants_are_mmdets_classes_at_coco_category_ids():
    from mmdet.datasets import CocoDataset

    assert COCO_CLASSES == CocoDataset.METAINFO['classes']
    by_name = dict(zip(COCO_CLASSES, COCO_CATEGORY_IDS))
    # Spot checks on both sides of every gap in COCO's ids.
    for name, category_id in (
        ('person', 1), ('fire hydrant', 11), ('stop sign', 13),
        ('giraffe', 25), ('backpack', 27), ('umbrella', 28), ('handbag', 31),
        ('bottle', 44), ('wine glass', 46), ('bed', 65), ('dining table', 67),
        ('toilet', 70), ('tv', 72), ('refrigerator', 82), ('book', 84),
        ('toothbrush', 90),
    ):  # fmt: skip
        assert by_name[name] == category_id
    assert len(COCO_CATEGORY_IDS) == 80
    assert list(COCO_CATEGORY_IDS) == sorted(set(COCO_CATEGORY_IDS))


_NINETY = tuple(f'thing {i}' for i in range(90))


@pytest.mark.parametrize(
    'case, num_rows, names, rows, our_names',
    [
        ('91 without names', 91, None, COCO_CATEGORY_IDS, COCO_CLASSES),
        ('91, empty names', 91, [], COCO_CATEGORY_IDS, COCO_CLASSES),
        ('91, COCO', 91, list(COCO_CLASSES), COCO_CATEGORY_IDS, COCO_CLASSES),
        ('91, 90 others', 91, _NINETY, range(90), _NINETY),
        ('91, 3 others', 91, ('a', 'b', 'c'), range(3), ('a', 'b', 'c')),
        ('81, COCO', 81, COCO_CLASSES, range(80), COCO_CLASSES),
        ('81 without names', 81, None, range(80), None),
        ('K + 1', 4, ('a', 'b', 'c'), range(3), ('a', 'b', 'c')),
        ('no spare row', 3, ('a', 'b', 'c'), range(3), ('a', 'b', 'c')),
        ('one class', 2, ('a',), range(1), ('a',)),
        ('one class, no list', 2, 'cell', range(1), ('cell',)),
    ],
)
def test_choose_upstream_rows(case, num_rows, names, rows, our_names):
    chosen, chosen_names = choose_upstream_rows(num_rows, names)
    assert chosen == list(rows), case
    assert len(chosen) == len(chosen_names)
    if our_names is None:
        our_names = tuple(f'class_{i}' for i in range(num_rows - 1))
    assert chosen_names == our_names


def test_more_names_than_rows_are_refused():
    with pytest.raises(InputError, match='names 3 classes and has 2 class'):
        choose_upstream_rows(2, ('a', 'b', 'c'))


@pytest.mark.parametrize(
    'num_classes, names, rows, num_rows, our_names',
    [
        (80, None, COCO_CATEGORY_IDS, 91, COCO_CLASSES),
        (80, COCO_CLASSES, COCO_CATEGORY_IDS, 91, COCO_CLASSES),
        (80, COCO_CLASSES[::-1], range(80), 81, COCO_CLASSES[::-1]),
        (3, ['a', 'b', 'c'], range(3), 4, ('a', 'b', 'c')),
        (2, None, range(2), 3, ('class_0', 'class_1')),
        (1, 'cell', range(1), 2, ('cell',)),
        (90, _NINETY, range(90), 91, _NINETY),
    ],
)
def test_choose_our_rows(num_classes, names, rows, num_rows, our_names):
    chosen = choose_our_rows(num_classes, names)
    assert chosen == (list(rows), num_rows, our_names)


def test_ninety_unnamed_classes_would_read_as_coco():
    with pytest.raises(InputError, match='Give class_names'):
        choose_our_rows(90, None)


def test_names_have_to_fit_our_rows():
    with pytest.raises(InputError, match='2 class names were given for 3'):
        choose_our_rows(3, ('a', 'b'))


@pytest.mark.parametrize('dim', [0, 1])
def test_take_undoes_scatter_and_the_rest_is_filled(dim):
    tensor = torch.randn(2, 2, 3)
    spread = scatter_rows(tensor, [3, 1], 5, dim, -20.0)
    assert torch.equal(take_rows(spread, [3, 1], dim), tensor)
    assert (take_rows(spread, [0, 2, 4], dim) == -20.0).all()
    assert spread.shape[dim] == 5


@pytest.mark.parametrize('num_classes', [1, 2, 3, 5, 7])
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_resized_rows_are_repeated_and_cut(num_classes, prefix):
    head = f'{prefix}bbox_head'
    weights = {
        f'{head}.cls_branch.weight': torch.randn(3, 4),
        f'{head}.cls_branch.bias': torch.randn(3),
        f'{head}.query_selector.cls_branch.weight': torch.randn(2, 3, 4),
        f'{head}.query_selector.cls_branch.bias': torch.randn(2, 3),
        f'{head}.other': torch.randn(3),
    }
    before = {key: tensor.clone() for key, tensor in weights.items()}
    resized = resize_class_rows(weights, num_classes, prefix)
    repeats = -(-num_classes // 3)
    for name in ('cls_branch', 'query_selector.cls_branch'):
        for part in ('weight', 'bias'):
            key = f'{head}.{name}.{part}'
            dim = int('selector' in name)
            tiled = torch.cat([before[key]] * repeats, dim)
            expected = tiled.narrow(dim, 0, num_classes)
            assert torch.equal(resized[key], expected), key
    assert resized[f'{head}.other'] is weights[f'{head}.other']
    assert all(torch.equal(weights[k], t) for k, t in before.items())


def test_taken_rows_are_those_asked_for_in_all_four_weights():
    weights = {
        name: torch.randn(*[2] * dim, 3, 4) for name, dim in CLASS_ROW_WEIGHTS
    }
    taken = take_class_rows(weights, [2, 0, 2, 1])
    for name, dim in CLASS_ROW_WEIGHTS:
        for new, old in enumerate([2, 0, 2, 1]):
            expected = weights[name].select(dim, old)
            assert torch.equal(taken[name].select(dim, new), expected), name


def test_resize_wants_our_weights_and_a_class():
    with pytest.raises(InputError, match="no 'bbox_head.cls_branch.weight'"):
        resize_class_rows({'class_embed.weight': torch.zeros(3, 4)}, 2)
    with pytest.raises(InputError, match='at least 1, got 0'):
        resize_class_rows({}, 0)
