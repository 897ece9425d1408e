"""Joined data sets: one label is one class, in every wrapper."""

import copy

import pytest
from mmdet.registry import DATASETS
from mmengine.config import Config

from rfdetr_mm.datasets import resolve_own_data
from rfdetr_mm.datasets.joined import check_same_classes, joined_parts
from rfdetr_mm.errors import InputError
from tests.data_factory import CLASSES, write_coco, write_layout

BACKWARDS = CLASSES[::-1]


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp('joined')
    sizes = [(40, 50), (48, 40)]
    return dict(
        coco=write_coco(root / 'coco', sizes, seed=1),
        other=write_coco(root / 'other', sizes, seed=2),
        yolo=write_layout(root / 'yolo', 'yolo'),
    )


def coco(folder, classes=CLASSES, **metainfo):
    return dict(
        type='NamedCocoDataset',
        data_root=str(folder),
        ann_file='annotations.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=classes, **metainfo),
        pipeline=[],
    )


def yolo(folder, **options):
    return dict(
        type='YoloDataset',
        data_root=str(folder),
        ann_file='data.yaml',
        pipeline=[],
        **options,
    )


def concat(*parts, kind='ConcatDataset'):
    return dict(type=kind, datasets=list(parts))


def build(dataset):
    cfg = Config(dict(train_dataloader=dict(dataset=copy.deepcopy(dataset))))
    assert resolve_own_data(cfg) is None
    return DATASETS.build(cfg.train_dataloader.dataset), cfg


def objects(dataset):
    """Class name and box of every object of a built data set."""
    found = []
    if hasattr(dataset, 'datasets'):
        for part in dataset.datasets:
            found += objects(part)
    elif hasattr(dataset, 'dataset'):
        found += objects(dataset.dataset)
    else:
        for i in range(len(dataset)):
            found += [
                (dataset.metainfo['classes'][x['bbox_label']], x['bbox'])
                for x in dataset.get_data_info(i)['instances']
            ]
    return found


def labels(dataset):
    """Labels of the whole data set by the class list of its first part."""
    first = next(joined_parts(dataset))[1]
    return [(first.index(name), box) for name, box in objects(dataset)]


WRAPPERS = {
    'alone': lambda d: d,
    'repeated': lambda d: dict(type='RepeatDataset', times=2, dataset=d),
    'nested': lambda d: concat(d, copy.deepcopy(d)),
    'mixed': lambda d: dict(
        type='MultiImageMixDataset', dataset=d, pipeline=[]
    ),
    'mmengine': lambda d: concat(
        *d['datasets'], kind='mmengine.ConcatDataset'
    ),
}


@pytest.mark.parametrize('wrapper', WRAPPERS)
@pytest.mark.parametrize('kind', ['order', 'yolo', 'palette', 'list'])
def test_parts_are_joined_by_name(folders, wrapper, kind):
    parts = dict(
        order=(
            coco(folders['coco']),
            coco(folders['other'], BACKWARDS),
        ),
        yolo=(coco(folders['coco'], BACKWARDS), yolo(folders['yolo'])),
        palette=(
            coco(folders['coco'], palette=[(1, 2, 3), (4, 5, 6)]),
            coco(folders['other']),
        ),
        list=(
            coco(folders['coco'], list(CLASSES)),
            coco(folders['other'], CLASSES),
        ),
    )[kind]
    # Each part by itself has the right names.
    right = [objects(DATASETS.build(copy.deepcopy(part))) for part in parts]
    dataset, _ = build(WRAPPERS[wrapper](concat(*parts)))
    found = objects(dataset)
    assert found[: len(right[0])] == right[0]
    assert found[len(right[0]) : len(right[0] + right[1])] == right[1]
    names = [name for _, name in joined_parts(dataset)]
    assert set(names) == {tuple(parts[0]['metainfo']['classes'])}
    # mmdet gives a list of several if the parts disagree.
    assert isinstance(dataset.metainfo, dict)


@pytest.mark.parametrize(
    'names, said',
    [
        (('disc', 'square', 'cross'), r'adds cross'),
        (('disc',), r'lacks square'),
        (('disc', 'star'), r'lacks square and adds star'),
    ],
)
def test_other_classes_are_an_error(folders, names, said):
    parts = coco(folders['coco']), coco(folders['other'], names)
    with pytest.raises(InputError, match=said) as error:
        build(concat(*parts))
    assert 'give every part the same metainfo' in str(error.value)


def test_the_union_where_the_config_says_so(folders):
    union = (*CLASSES, 'cross')
    parts = coco(folders['coco'], union), coco(folders['other'], union)
    dataset, _ = build(concat(*parts))
    assert dataset.metainfo['classes'] == union
    assert {name for name, _ in objects(dataset)} == set(CLASSES)


def test_labels_by_the_order_of_the_file_are_an_error(folders):
    part = dict(coco(folders['other'], BACKWARDS), type='CocoDataset')
    with pytest.raises(InputError, match='NamedCocoDataset'):
        build(concat(coco(folders['coco']), part))


def test_equal_parts_are_left_alone(folders):
    parts = coco(folders['coco']), coco(folders['other'])
    _, cfg = build(concat(*parts))
    assert cfg.train_dataloader.dataset == concat(*parts)


def test_built_data_sets_are_checked(folders):
    """For runs that come past our tools: an error, never a swap."""
    parts = coco(folders['coco']), coco(folders['other'], BACKWARDS)
    dataset = DATASETS.build(concat(*map(copy.deepcopy, parts)))
    with pytest.raises(InputError, match='in another order'):
        check_same_classes(list(joined_parts(dataset)), 'train_dataloader')


def test_parts_with_a_metric_each_keep_their_classes(folders):
    """As mmdet's configs for open vocabularies test them."""
    parts = coco(folders['coco']), coco(folders['other'], ('star',))
    cfg = Config(
        dict(
            test_dataloader=dict(dataset=concat(*parts)),
            test_evaluator=dict(type='MultiDatasetsEvaluator', metrics=[]),
        )
    )
    resolve_own_data(cfg)
    assert cfg.test_dataloader.dataset == concat(*parts)
