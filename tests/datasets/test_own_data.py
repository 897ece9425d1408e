import copy
import os
from pathlib import Path

import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config, ConfigDict

from rfdetr_mm.datasets import resolve_own_data
from rfdetr_mm.errors import InputError
from tests.data_factory import (
    CLASSES,
    COLOURS,
    LAYOUT_FILES,
    edit_json,
    permute_categories,
    write_layout,
)

CONFIG = Path(__file__).parents[2] / 'configs/rfdetr/rfdetr_nano_custom.py'
CUSTOM = Config.fromfile(CONFIG)
BY_ID = CLASSES[::-1]  # their ids are 7 and 3
SPLITS = ('train', 'val', 'test')


def custom_config(data_root, **options) -> Config:
    cfg = copy.deepcopy(CUSTOM)
    options = {key.replace('__', '.'): v for key, v in options.items()}
    cfg.merge_from_dict({'data_root': str(data_root), **options})
    return cfg


def loaded(cfg: Config, split: str):
    dataset = copy.deepcopy(cfg[f'{split}_dataloader'].dataset)
    dataset.pipeline = [dataset.pipeline[0]]  # loads the image
    return DATASETS.build(dataset)


def assert_labels_are_right(cfg: Config) -> None:
    """Compare the label of every box with the colour at its centre."""
    count = 0
    for split in SPLITS:
        dataset = loaded(cfg, split)
        names = dataset.metainfo['classes']
        for sample in dataset:
            for box in sample['instances']:
                x1, y1, x2, y2 = box['bbox']
                pixel = sample['img'][int(y1 + y2) // 2, int(x1 + x2) // 2]
                colour = COLOURS[CLASSES.index(names[box['bbox_label']])]
                # Later shapes may hide the centre, but not all of them.
                count += bool(np.abs(pixel[::-1] - colour).max() < 2)
    assert count > 10


def find(node, key: str) -> list:
    found = [node[key]] if isinstance(node, dict) and key in node else []
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            found += find(child, key)
    return found


def add_parent(content):
    """What Roboflow's exports begin with."""
    for category in content['categories']:
        category['supercategory'] = 'shapes'
    root = {'id': 0, 'name': 'shapes', 'supercategory': 'none'}
    content['categories'].insert(0, root)


@pytest.fixture
def flat(tmp_path):
    return write_layout(tmp_path / 'flat', 'flat')


@pytest.mark.parametrize('layout', LAYOUT_FILES)
def test_every_layout_fills_in_the_config(tmp_path, layout):
    root = write_layout(tmp_path / 'Meine Daten, ü', layout)
    cfg = custom_config(root)
    summary = resolve_own_data(cfg)
    assert cfg.model.bbox_head.num_classes == 2
    assert 'dataset_layout' not in cfg and cfg.data_root == str(root)
    for split in SPLITS:
        ann_file, folder = LAYOUT_FILES[layout][split]
        dataset = cfg[f'{split}_dataloader'].dataset
        assert (dataset.data_root, dataset.ann_file) == (str(root), ann_file)
        assert dataset.data_prefix == {'img': folder}
        assert dataset.metainfo.classes == BY_ID
        assert ann_file in summary
    assert cfg.val_evaluator.ann_file == str(
        root / LAYOUT_FILES[layout]['val'][0]
    )
    assert cfg.test_evaluator.ann_file == str(
        root / LAYOUT_FILES[layout]['test'][0]
    )
    assert_labels_are_right(cfg)


@pytest.mark.parametrize('splits', [SPLITS, SPLITS[:2]])
def test_yolo_fills_in_the_config(tmp_path, splits):
    """The file names test images that may not be there."""
    root = write_layout(tmp_path / 'Meine Daten, ü', 'yolo', splits)
    cfg = custom_config(root)
    summary = resolve_own_data(cfg)
    assert cfg.model.bbox_head.num_classes == 2
    assert 'layout yolo' in summary
    used = dict(zip(SPLITS, (*splits, 'val')))
    for split in SPLITS:
        dataset = cfg[f'{split}_dataloader'].dataset
        assert dataset.type == 'YoloDataset' and dataset.split == used[split]
        assert (dataset.data_root, dataset.ann_file) == (
            str(root),
            'data.yaml',
        )
        assert 'data_prefix' not in dataset
        assert dataset.metainfo.classes == BY_ID
        packs_truth = 'instances' in dataset.pipeline[-1].get('meta_keys', ())
        assert packs_truth == (split != 'train')
    # Three images a split; the second has no boxes, the others three.
    rows = [line.split() for line in summary.splitlines()]
    for split, folder in zip(splits, ('train', 'valid', 'test')):
        assert [split, 'data.yaml', f'{folder}/images', '3', '1', '6'] in rows
    assert cfg.val_evaluator.ann_file is cfg.test_evaluator.ann_file is None
    assert_labels_are_right(cfg)


def test_yolo_without_training_images_is_an_error(tmp_path):
    root = write_layout(tmp_path / 'set', 'yolo', ('val',))
    with pytest.raises(InputError, match="split 'train' are not there"):
        resolve_own_data(custom_config(root))


def test_labels_go_by_names(tmp_path):
    root = write_layout(tmp_path / 'set', 'roboflow')
    for split, (ann_file, _) in LAYOUT_FILES['roboflow'].items():
        if split != 'train':
            edit_json(root / ann_file, permute_categories)
        edit_json(root / ann_file, add_parent)
    cfg = custom_config(root)
    resolve_own_data(cfg)
    assert cfg.val_dataloader.dataset.metainfo.classes == BY_ID
    assert cfg.model.bbox_head.num_classes == 2
    assert_labels_are_right(cfg)


def test_the_order_of_given_classes_is_kept(flat):
    key = 'train_dataloader__dataset__metainfo__classes'
    cfg = custom_config(flat, **{key: list(CLASSES)})
    resolve_own_data(cfg)
    for split in SPLITS:
        dataset = cfg[f'{split}_dataloader'].dataset
        assert dataset.metainfo.classes == CLASSES != BY_ID
    assert_labels_are_right(cfg)


def test_given_classes_may_be_fewer_than_those_of_the_file(flat):
    key = 'train_dataloader__dataset__metainfo__classes'
    cfg = custom_config(flat, **{key: ['square']})
    resolve_own_data(cfg)
    assert cfg.model.bbox_head.num_classes == 1
    assert {
        box['bbox_label']
        for info in loaded(cfg, 'val')
        for box in info['instances']
    } == {0}


@pytest.mark.parametrize(
    'classes, message',
    [
        (['disc', 'sqare'], "train.json .*'sqare' .*closest.*'square'"),
        (['disc', 'disc'], 'disc more than once'),
        ('disc', r"must be a list of names, \[a,b\], not 'disc'"),
        ([1, 2], 'has none of the classes.*1, 2.*square, disc'),
    ],
)
def test_wrong_given_classes(flat, classes, message):
    key = 'train_dataloader__dataset__metainfo__classes'
    with pytest.raises(InputError, match=message):
        resolve_own_data(custom_config(flat, **{key: classes}))


def test_names_that_look_like_numbers(flat):
    for name in ('train.json', 'val.json', 'test.json'):
        edit_json(flat / name, lambda c: c['categories'][0].update(name='1'))
    key = 'train_dataloader__dataset__metainfo__classes'
    cfg = custom_config(flat, **{key: [1, 'square']})
    resolve_own_data(cfg)
    assert cfg.test_dataloader.dataset.metainfo.classes == ('1', 'square')


@pytest.mark.parametrize('split', ['val', 'test'])
def test_classes_that_training_does_not_know(flat, split):
    file = flat / f'{split}.json'

    def rename(content):
        content['categories'][0]['name'] = 'Disc'
        discs = [a for a in content['annotations'] if a['category_id'] == 7]
        counts.append(len(discs))

    counts = []
    edit_json(file, rename)
    with pytest.raises(InputError) as error:
        resolve_own_data(custom_config(flat))
    for part in (str(file), 'train.json', f'Disc ({counts[0]})', 'classes=['):
        assert part in str(error.value)


def test_more_classes_in_val_are_known_by_name(flat):
    """The way out that the error names, and a class without boxes."""
    for name in ('val.json', 'test.json'):
        edit_json(
            flat / name,
            lambda c: (
                c['categories'].append({'id': 1, 'name': 'star'}),
                c['annotations'][0].update(category_id=1),
            ),
        )
    with pytest.raises(InputError, match=r'star \(1\)'):
        resolve_own_data(custom_config(flat))
    key = 'train_dataloader__dataset__metainfo__classes'
    cfg = custom_config(flat, **{key: list(BY_ID)})
    resolve_own_data(cfg)
    assert cfg.model.bbox_head.num_classes == 2
    edit_json(
        flat / 'val.json',
        lambda c: c['annotations'][0].update(category_id=7),
    )
    edit_json(
        flat / 'test.json',
        lambda c: c['annotations'][0].update(category_id=7),
    )
    resolve_own_data(custom_config(flat))


def test_a_parent_with_boxes_in_val_only_is_unknown(flat):
    for name in ('train.json', 'val.json', 'test.json'):
        edit_json(flat / name, add_parent)
    edit_json(
        flat / 'val.json',
        lambda c: c['annotations'][0].update(category_id=0),
    )
    with pytest.raises(InputError, match=r'val.json .*shapes \(1\)'):
        resolve_own_data(custom_config(flat))


def test_without_a_test_split_val_is_tested(tmp_path):
    root = write_layout(tmp_path / 'set', 'coco', ('train', 'val'))
    cfg = custom_config(root)
    summary = resolve_own_data(cfg)
    assert 'test: none, the val split is taken' in summary
    assert cfg.test_dataloader.dataset == cfg.val_dataloader.dataset
    assert cfg.test_evaluator == cfg.val_evaluator
    assert cfg.val_evaluator.ann_file.endswith('instances_val2017.json')


@pytest.mark.parametrize('layout', [*LAYOUT_FILES, 'yolo'])
@pytest.mark.parametrize(
    'splits, only, used',
    [
        (('val',), 'val', 'val'),
        (('val',), 'test', 'val'),
        (('val', 'test'), 'test', 'test'),
        (SPLITS, 'val', 'val'),
    ],
)
def test_one_split_alone(tmp_path, layout, splits, only, used):
    """For an evaluation: the others may be missing or broken."""
    root = write_layout(tmp_path / 'set', layout, splits)
    cfg = custom_config(
        root, **{'train_dataloader.dataset.metainfo': dict(classes=BY_ID)}
    )
    summary = resolve_own_data(cfg, only)
    assert ('val split is taken' in summary) is (only != used)
    dataset = cfg[f'{only}_dataloader'].dataset
    assert dataset.data_root == str(root)
    assert dataset.metainfo.classes == BY_ID
    if layout == 'yolo':
        assert dataset.split == used
    else:
        ann_file = LAYOUT_FILES[layout][used][0]
        assert dataset.ann_file == ann_file
        assert cfg[f'{only}_evaluator'].ann_file == str(root / ann_file)
    assert cfg.train_dataloader.dataset.data_root == ''


def test_the_only_split_is_missing(tmp_path):
    root = write_layout(tmp_path / 'set', 'coco', ('train',))
    for only in ('val', 'test'):
        with pytest.raises(InputError, match="no file for the split 'val'"):
            resolve_own_data(custom_config(root), only)


def test_given_files_and_folders_are_kept(flat, tmp_path):
    other = write_layout(tmp_path / 'other', 'roboflow')
    (flat / 'val.json').rename(flat / 'my val.json')
    cfg = custom_config(
        flat,
        val_dataloader__dataset__ann_file='my val.json',
        test_dataloader__dataset__ann_file=str(
            other / 'test/_annotations.coco.json'
        ),
    )
    resolve_own_data(cfg)
    val, test = cfg.val_dataloader.dataset, cfg.test_dataloader.dataset
    assert (val.ann_file, val.data_prefix.img) == ('my val.json', 'images')
    assert test.data_prefix.img == str(other / 'test')
    assert cfg.val_evaluator.ann_file == str(flat / 'my val.json')
    assert cfg.test_evaluator.ann_file == test.ann_file
    assert cfg.train_dataloader.dataset.ann_file == 'train.json'
    assert_labels_are_right(cfg)

    (flat / 'images').rename(flat / 'pictures')
    val_file = dict(val_dataloader__dataset__ann_file='my val.json')
    with pytest.raises(InputError, match='images of .*train.json.*not found'):
        resolve_own_data(custom_config(flat, **val_file))
    keys = [
        f'{split}_dataloader__dataset__data_prefix__img' for split in SPLITS
    ]
    cfg = custom_config(
        flat,
        val_evaluator__ann_file='of another.json',
        **val_file,
        **dict.fromkeys(keys, 'pictures/'),
    )
    resolve_own_data(cfg)
    assert cfg.test_dataloader.dataset.data_prefix.img == 'pictures/'
    assert cfg.val_evaluator.ann_file == 'of another.json'


def test_one_file_for_all_splits(flat):
    keys = [f'{split}_dataloader__dataset__ann_file' for split in SPLITS]
    cfg = custom_config(flat, **dict.fromkeys(keys, 'train.json'))
    resolve_own_data(cfg)
    assert cfg.val_evaluator.ann_file == str(flat / 'train.json')


def test_relative_folders_and_home(flat, monkeypatch):
    monkeypatch.chdir(flat.parent)
    monkeypatch.setenv('HOME', str(flat.parent))
    for data_root in ('flat', './flat/', '~/flat'):
        cfg = custom_config(data_root)
        resolve_own_data(cfg)
        assert cfg.val_dataloader.dataset.data_root == str(flat)
        assert os.path.isabs(cfg.val_evaluator.ann_file)


def test_the_dumped_config_needs_no_detection(flat, tmp_path, monkeypatch):
    cfg = custom_config(flat)
    resolve_own_data(cfg)
    cfg.dump(tmp_path / 'dumped.py')
    monkeypatch.chdir('/')
    again = Config.fromfile(tmp_path / 'dumped.py')
    assert again._cfg_dict == cfg._cfg_dict
    assert resolve_own_data(again) is None
    assert again._cfg_dict == cfg._cfg_dict


def test_other_configs_are_left_alone():
    cfg = Config.fromfile(CONFIG.with_name('rfdetr_nano_coco.py'))
    before = copy.deepcopy(cfg._cfg_dict)
    assert resolve_own_data(cfg) is None
    assert cfg._cfg_dict == before


def test_an_error_leaves_the_config_as_it_was(flat):
    (flat / 'test.json').write_text('{}')
    cfg = custom_config(flat)
    before = copy.deepcopy(cfg._cfg_dict)
    with pytest.raises(InputError, match='test.json: images'):
        resolve_own_data(cfg)
    assert cfg._cfg_dict == before


@pytest.mark.parametrize('data_root', [None, '', 7, ['a', 'b']])
def test_data_root_has_to_be_a_path(data_root):
    cfg = custom_config('')
    cfg.data_root = data_root
    with pytest.raises(InputError, match='data_root must be.*data_root=DIR'):
        resolve_own_data(cfg)


def test_the_default_folder_says_how_to_name_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match='data/custom.*data_root=DIR'):
        resolve_own_data(copy.deepcopy(CUSTOM))


def test_wrapped_data_sets_and_lists_of_evaluators(flat):
    cfg = custom_config(flat)
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset',
        times=2,
        dataset=dict(type='ConcatDataset', datasets=[inner]),
    )
    cfg.val_evaluator = [
        cfg.val_evaluator,
        dict(type='DumpDetResults', out_file_path='a.pkl'),
    ]
    resolve_own_data(cfg)
    (inner,) = cfg.train_dataloader.dataset.dataset.datasets
    assert (inner.ann_file, inner.metainfo.classes) == ('train.json', BY_ID)
    assert cfg.val_evaluator[0].ann_file == str(flat / 'val.json')
    assert 'ann_file' not in cfg.val_evaluator[1]
    assert len(DATASETS.build(cfg.train_dataloader.dataset)) == 2 * 3


def test_data_sets_that_cannot_be_filled_in(flat):
    cfg = custom_config(flat)
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[inner, inner]
    )
    with pytest.raises(InputError, match='train_dataloader joins 2 data sets'):
        resolve_own_data(cfg)
    cfg.train_dataloader.dataset = inner
    cfg.val_dataloader = None
    with pytest.raises(InputError, match='val_dataloader.*none'):
        resolve_own_data(cfg)


def test_every_head_gets_the_number_of_classes(flat):
    cfg = custom_config(flat)
    cfg.model.mask_heads = [ConfigDict(num_classes=80), ConfigDict(depth=1)]
    cfg.model.roi_head = dict(bbox_head=[dict(num_classes=80)])
    resolve_own_data(cfg)
    assert find(cfg.model, 'num_classes') == [2, 2, 2]
    assert cfg.model.mask_heads[1] == {'depth': 1}


def test_the_summary_counts(flat):
    edit_json(
        flat / 'train.json',
        lambda c: [a.update(category_id=3) for a in c['annotations'][:-1]]
        + [c['annotations'][-1].update(category_id=7)],
    )
    lines = resolve_own_data(custom_config(flat)).splitlines()
    assert str(flat) in lines[0] and 'flat' in lines[0]
    assert lines[1].split() == (
        'annotations images in images without boxes boxes'.split()
    )
    # Three images, one without boxes, three boxes in each of the others.
    assert lines[2].split() == 'train train.json images 3 1 6'.split()
    assert lines[4].split() == 'test test.json images 3 1 6'.split()
    assert lines[6].split() == ['train', 'val', 'test']
    assert lines[7].split()[:3] == ['0', 'square', '5']
    assert lines[8].split()[:3] == ['1', 'disc', '1']


def test_many_classes(flat):
    """More than COCO has colours for, and than a log should list."""
    for name in ('train.json', 'val.json', 'test.json'):
        edit_json(
            flat / name,
            lambda c: c['categories'].extend(
                {'id': 1000 + n, 'name': f'class {n}'} for n in range(118)
            ),
        )
    cfg = custom_config(flat)
    lines = resolve_own_data(cfg).splitlines()
    assert lines[-1].strip() == '… (120 classes)'
    assert cfg.model.bbox_head.num_classes == 120
    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = loaded(cfg, 'val').metainfo
    sample = DATASETS.build(cfg.val_dataloader.dataset)[0]['data_samples']
    sample.gt_instances.labels[:] = 119
    sample.gt_instances.bboxes = sample.gt_instances.bboxes.tensor
    image = np.zeros((384, 384, 3), np.uint8)
    visualizer.add_datasample('x', image, sample, draw_pred=False, show=False)
    assert visualizer.get_image().any()
