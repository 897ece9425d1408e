"""Keypoints from COCO and YOLO files to data samples."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.config import Config
from PIL import Image

from rfdetr_mm.datasets.keypoint_reader import (
    checked_mirror,
    mirror_of_names,
    mirror_of_pairs,
)
from rfdetr_mm.datasets.own_data import resolve_own_data
from rfdetr_mm.errors import InputError

CONFIGS = Path(__file__).parents[2] / 'configs'
HW = (40, 60)
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadPoseAnnotations', with_bbox=True),
    dict(type='PackPoseInputs'),
]
NAMES = ['head', 'left_hand', 'right_hand']


@pytest.mark.parametrize(
    ('names', 'mirror'),
    [
        (['nose', 'left_eye', 'right_eye'], [0, 2, 1]),
        (['Left-Eye', 'nose', 'right eye'], [2, 1, 0]),
        (['eye_left_up', 'eye_right_up', 'eye_left'], [1, 0, 2]),
        (['leftover', 'rightover'], None),  # no words of their own
        (['left_right', 'right_left'], None),  # two words
        (['nose', 'tail'], None),
        (['left', 'left', 'right'], None),
        ([], None),
    ],
)
def test_left_and_right_by_names(names, mirror):
    assert mirror_of_names(names) == mirror


def test_coco_people():
    people = (
        'nose left_eye right_eye left_ear right_ear left_shoulder '
        'right_shoulder left_elbow right_elbow left_wrist right_wrist '
        'left_hip right_hip left_knee right_knee left_ankle right_ankle'
    ).split()
    pairs = [[i, i + 1] for i in range(1, 17, 2)]
    assert mirror_of_names(people) == mirror_of_pairs(pairs, 17, '')


@pytest.mark.parametrize(
    'mirror', [[0, 1], [1, 2, 0], [0, 0, 2], [0, 1, 3], [0, 1, 'a'], [0, 1.0]]
)
def test_mirrors_that_exchange_no_pairs(mirror):
    with pytest.raises(InputError, match='where .*from 0 to 2 once'):
        checked_mirror(mirror, 3, 'where')


@pytest.mark.parametrize(
    'pairs', [[[0, 3]], [[0, 1], [1, 2]], [[0]], [[1, 1]]]
)
def test_impossible_pairs(pairs):
    with pytest.raises(InputError, match='where must be pairs'):
        mirror_of_pairs(pairs, 3, 'where')


def content(*annotations, **person) -> dict:
    """One image and two categories with other numbers of keypoints."""
    return dict(
        images=[
            dict(id=1, file_name='1.png', height=HW[0], width=HW[1]),
            dict(id=2, file_name='2.png', height=HW[0], width=HW[1]),
        ],
        annotations=[
            dict(
                id=n, image_id=1, bbox=[5, 5, 30, 20], iscrowd=0, **annotation
            )
            for n, annotation in enumerate(annotations, start=1)
        ],
        categories=[
            dict(id=4, name='person', keypoints=NAMES, **person),
            dict(id=2, name='dot', keypoints=['middle']),
            dict(id=9, name='wall'),
        ],
    )


def build(folder, file, classes=('person', 'dot', 'wall'), **options):
    folder.mkdir(exist_ok=True)
    for image in file['images']:
        Image.new('RGB', HW[::-1]).save(folder / image['file_name'])
    (folder / 'file.json').write_text(json.dumps(file))
    return DATASETS.build(
        dict(
            type='NamedCocoDataset',
            serialize_data=False,
            data_root=str(folder),
            ann_file='file.json',
            data_prefix=dict(img=''),
            metainfo=dict(classes=classes),
            filter_cfg=dict(filter_empty_gt=False),
            pipeline=PIPELINE,
            **options,
        )
    )


PERSON = dict(category_id=4, keypoints=[10, 12, 2, 20, 22, 1, 0, 0, 0])


def test_keypoints_of_several_classes(tmp_path):
    dataset = build(
        tmp_path,
        content(
            PERSON,
            dict(category_id=2, keypoints=[7.5, 8, 2]),
            dict(category_id=9),
            dict(category_id=4, keypoints=[10, 12, 2]),  # the first alone
            skeleton=[[1, 2], [1, 3]],
        ),
    )
    meta = dataset.metainfo
    assert meta['num_keypoints'] == (3, 1, 0)
    assert meta['keypoint_names'][0] == tuple(NAMES)
    assert meta['keypoint_links'] == (((0, 1), (0, 2)), (), ())
    first, second = (dataset[i]['data_samples'].gt_instances for i in (0, 1))
    assert first.labels.tolist() == [0, 1, 2, 0]
    assert first.keypoints.tolist() == [
        [[10, 12, 2], [20, 22, 1], [0, 0, 0]],
        [[7.5, 8, 2], [0, 0, 0], [0, 0, 0]],
        [[0, 0, 0]] * 3,
        [[10, 12, 2], [0, 0, 0], [0, 0, 0]],
    ]
    assert second.keypoints.shape == (0, 3, 3)


def test_numbers_of_keypoints_without_names(tmp_path):
    """The object with most keypoints tells; nothing is mirrored then."""
    file = content(PERSON, dict(PERSON, keypoints=[1, 1, 2]))
    for category in file['categories']:
        category.pop('keypoints', None)
    dataset = build(tmp_path, file)
    assert dataset.metainfo['num_keypoints'] == (3, 0, 0)
    assert dataset.get_data_info(0)['keypoint_info']['mirrors'] is None


def test_keypoints_outside_the_image_are_not_labelled(tmp_path):
    points = [60, 5, 2, -1, 5, 1, 59.5, 39.5, 2]
    dataset = build(tmp_path, content(dict(PERSON, keypoints=points)))
    keypoints = dataset[0]['data_samples'].gt_instances.keypoints
    assert keypoints.tolist() == [[[0, 0, 0], [0, 0, 0], [59.5, 39.5, 2]]]


@pytest.mark.parametrize(
    ('keypoints', 'message'),
    [
        ([1, 2, 2, 3], 'three numbers .*, but has 4'),
        ('1,2,2', "three numbers .*'1,2,2'"),
        ([1, 2, 3], r'0 \(not labelled\).*has 3'),
        ([1, 2, -1], 'has -1'),
        ([1, 2, 0.5], 'has 0.5'),
        ([1, float('nan'), 2], 'finite'),
        ([1, None, 2], 'finite'),
        ([1, 2, 2] * 4, 'has 4 keypoints, but its category names 3: head'),
    ],
)
def test_impossible_keypoints_are_named(tmp_path, keypoints, message):
    with pytest.raises(InputError, match=f'annotation 1 .*{message}'):
        build(tmp_path, content(dict(PERSON, keypoints=keypoints)))


def test_a_detection_data_set_is_refused(tmp_path):
    file = content(dict(category_id=4))
    for category in file['categories']:
        category.pop('keypoints', None)
    with pytest.raises(InputError, match='has no keypoints.*configs/rfdetr'):
        build(tmp_path, file)


def test_pairs_of_the_data_set_win(tmp_path):
    def mirrors(**options):
        dataset = build(tmp_path, content(PERSON), **options)
        return dataset.get_data_info(0)['keypoint_info']['mirrors']

    assert mirrors() == ((0, 2, 1), (0,), ())
    pairs = dict(person=[[0, 1]])
    assert mirrors(flip_pairs=pairs) == ((1, 0, 2), (0,), ())
    # A list is for every class with keypoints, whether or not it can be.
    with pytest.raises(InputError, match="'dot' must be pairs"):
        mirrors(flip_pairs=[[0, 1]])
    assert mirrors(flip_pairs=[]) == ((0, 1, 2), (0,), ())
    with pytest.raises(InputError, match='flip_pairs names cat'):
        mirrors(flip_pairs=dict(cat=[]))
    with pytest.raises(InputError, match="'person' must be pairs"):
        mirrors(flip_pairs=dict(person=[[0, 3]]))


def test_loading_without_annotations_and_of_another_data_set():
    """An inferencer has none; data without keypoints are an error."""
    load = TRANSFORMS.build(PIPELINE[1])
    results = load(dict(img_shape=HW))
    packed = TRANSFORMS.build(dict(PIPELINE[2], meta_keys=()))(
        dict(results, img=np.zeros((*HW, 3), np.uint8))
    )
    assert 'keypoints' not in packed['data_samples'].gt_instances
    box = dict(bbox=[0, 0, 1, 1], bbox_label=0, ignore_flag=0)
    with pytest.raises(InputError, match='a data set that reads keypoints'):
        load(dict(img_shape=HW, instances=[box]))


def results_of(tmp_path, names=NAMES):
    file = content(PERSON, dict(category_id=9))
    file['categories'][0]['keypoints'] = names
    dataset = build(tmp_path, file)
    results = dataset.get_data_info(0)
    for step in PIPELINE[:2]:
        results = TRANSFORMS.build(step)(results)
    return results


FLIP = dict(type='PoseRandomFlip', prob=1.0)


@pytest.mark.parametrize(
    ('direction', 'expected'),
    [
        # left and right hand are exchanged, (W - 1) - x
        ('horizontal', [[49, 12, 2], [0, 0, 0], [39, 22, 1]]),
        ('vertical', [[10, 27, 2], [0, 0, 0], [20, 17, 1]]),
        # half a turn: left stays left
        ('diagonal', [[49, 27, 2], [39, 17, 1], [0, 0, 0]]),
    ],
)
def test_mirrored_keypoints(tmp_path, direction, expected):
    results = results_of(tmp_path)
    flip = TRANSFORMS.build(dict(FLIP, direction=direction))
    boxes = flip(results)['gt_bboxes']
    assert boxes.keypoints[0].tolist() == expected
    assert boxes.keypoints[1].tolist() == [[0, 0, 0]] * 3
    flip(results)
    assert boxes.keypoints[0].tolist() == [[10, 12, 2], [20, 22, 1], [0, 0, 0]]


def test_nothing_is_mirrored_without_pairs(tmp_path):
    results = results_of(tmp_path, ['a', 'b', 'c'])
    before = results['gt_bboxes'].clone()
    flipped = TRANSFORMS.build(FLIP)(results)
    assert flipped['flip'] is False
    assert torch.equal(flipped['gt_bboxes'].tensor, before.tensor)
    with pytest.raises(InputError, match='PoseRandomFlip'):
        TRANSFORMS.build(dict(type='RandomFlip', prob=1.0))(results)


def marked(tmp_path):
    """A picture in which the labelled keypoints are white pixels."""
    results = results_of(tmp_path)
    image = np.zeros((*HW, 3), np.uint8)
    for x, y, visibility in results['gt_bboxes'].keypoints[0].int().tolist():
        if visibility:
            image[y - 1 : y + 2, x - 1 : x + 2] = 255
    results['img'] = image
    return results


@pytest.mark.parametrize(
    'transform',
    [
        dict(FLIP, direction='horizontal'),
        dict(FLIP, direction='vertical'),
        dict(type='RFDETRResize', scale=(120, 80)),
        dict(type='RandomCrop', crop_size=(30, 40)),
        dict(type='RandomSquareCrop', min_side=30, max_side=36),
        dict(type='Rotate', prob=1.0, min_mag=20.0, max_mag=20.0),
        dict(type='Rotate', prob=1.0, min_mag=180.0, max_mag=180.0),
        dict(type='CenteredRandomAffine', max_translate_ratio=0.05),
    ],
    ids=lambda t: t['type'],
)
def test_keypoints_stay_on_what_they_mark(tmp_path, transform):
    check_places(tmp_path, [TRANSFORMS.build(transform)], 4)


@pytest.mark.parametrize(
    'preset', ['aerial', 'aggressive', 'conservative', 'industrial']
)
def test_presets_of_augmentations(tmp_path, preset):
    """Flips of all kinds, turns by 45 and 90 degrees, affine maps."""
    file = CONFIGS / '_base_/augmentations' / f'{preset}.py'
    steps = Config.fromfile(file).augmentations
    assert [step.type for step in steps].count('RandomFlip') == 1
    for step in steps:
        if step.type == 'RandomFlip':
            step.type = 'PoseRandomFlip'
    check_places(tmp_path, [TRANSFORMS.build(step) for step in steps], 12)


def check_places(tmp_path, steps, num_seeds):
    """Property: where one is labelled, the picture is white."""
    found = 0
    for seed in range(num_seeds):
        np.random.seed(seed), random.seed(seed), torch.manual_seed(seed)
        results = marked(tmp_path)
        for step in steps:
            results = results and step(results)
        if results is None:
            continue
        height, width = results['img'].shape[:2]
        for x, y, visibility in results['gt_bboxes'].keypoints.flatten(0, 1):
            if visibility:
                assert 0 <= x < width and 0 <= y < height
                row, column = round(float(y)), round(float(x))
                row, column = min(row, height - 1), min(column, width - 1)
                assert results['img'][row, column].max() > 60
                found += 1
            else:
                assert x == y == 0
    assert found


def test_crops_drop_points_outside(tmp_path):
    results = results_of(tmp_path)
    boxes = results['gt_bboxes']
    boxes.translate_((-15, 0))
    boxes.clip_((22, 30))
    assert boxes.keypoints[0].tolist() == [[0, 0, 0]] * 3
    boxes = results_of(tmp_path)['gt_bboxes']
    boxes.translate_((-15, 0))
    boxes.clip_((23, 30))
    assert boxes.keypoints[0].tolist() == [[0, 0, 0], [5, 22, 1], [0, 0, 0]]


def test_selecting_and_joining_keeps_keypoints_with_their_boxes(tmp_path):
    boxes = results_of(tmp_path)['gt_bboxes']
    both = boxes.cat([boxes, boxes[[1]]])
    assert both.keypoints.shape == (3, 3, 3) and both.mirrors.shape == (3, 3)
    for index in (np.array([False, True, False]), torch.tensor([1]), [1], 1):
        assert both[index].keypoints.tolist() == [[[0, 0, 0]] * 3]
    assert torch.equal(both[np.array([0])].tensor, boxes[[0]].tensor)


def write_yolo(folder, line, **entries):
    for split in ('train', 'valid'):
        (folder / split / 'images').mkdir(parents=True, exist_ok=True)
        (folder / split / 'labels').mkdir(exist_ok=True)
        Image.new('RGB', (80, 40)).save(folder / split / 'images/1.png')
        (folder / split / 'labels/1.txt').write_text(line)
    (folder / 'data.yaml').write_text(
        yaml.safe_dump(
            dict(
                names=['cat', 'dog'],
                train='train/images',
                val='valid/images',
                **entries,
            )
        )
    )
    return folder


def load_yolo(folder, **options):
    return DATASETS.build(
        dict(
            type='YoloDataset',
            data_root=str(folder),
            ann_file='data.yaml',
            serialize_data=False,
            pipeline=PIPELINE,
            **options,
        )
    )


@pytest.mark.parametrize(
    ('shape', 'line', 'expected'),
    [
        ([2, 3], '.25 .5 2 .5 .25 1', [[20, 20, 2], [40, 10, 1]]),
        ([2, 3], '.25 .5 0 .5 .25 1', [[0, 0, 0], [40, 10, 1]]),
        ([2, 3], '1.2 .5 2 .5 .25 1', [[0, 0, 0], [40, 10, 1]]),
        ([2, 2], '.25 .5 .5 .25', [[20, 20, 2], [40, 10, 2]]),
        ([2, 2], '-1 -1 .5 .25', [[0, 0, 0], [40, 10, 2]]),
    ],
)
def test_yolo_pose(tmp_path, shape, line, expected):
    write_yolo(
        tmp_path, f'1 .5 .5 .5 .5 {line}', kpt_shape=shape, flip_idx=[1, 0]
    )
    dataset = load_yolo(tmp_path)
    assert dataset.metainfo['num_keypoints'] == (2, 2)
    instances = dataset[0]['data_samples'].gt_instances
    assert instances.keypoints.tolist() == [expected]
    info = dataset.get_data_info(0)['keypoint_info']
    assert info == dict(largest=2, mirrors=((1, 0), (1, 0)))


@pytest.mark.parametrize(
    ('line', 'entries', 'message'),
    [
        ('.1 .1 3', dict(kpt_shape=[1, 3]), 'line 1: 3 is not a visibility'),
        ('.1 nan 2', dict(kpt_shape=[1, 3]), 'line 1: .*finite'),
        ('.1 x 2', dict(kpt_shape=[1, 3]), 'line 1: not a number'),
        ('.1 .1', dict(kpt_shape=[1, 3]), 'line 1: .*3 numbers of the keyp'),
        ('.1 .1', dict(kpt_shape=[1, 4]), 'kpt_shape must be'),
        (
            '.1 .1 .2 .2 .3 .3',
            dict(kpt_shape=[3, 2], flip_idx=[1, 2, 0]),
            'flip_idx must name',
        ),
        (
            '.1 .1',
            dict(kpt_shape=[1, 2], kpt_names=['a', 'b']),
            'kpt_names must name the 1',
        ),
        ('', {}, 'has no kpt_shape'),
    ],
)
def test_impossible_yolo_keypoints(tmp_path, line, entries, message):
    write_yolo(tmp_path, f'1 .5 .5 .5 .5 {line}', **entries)
    with pytest.raises(InputError, match=message):
        load_yolo(tmp_path)


@pytest.mark.parametrize(
    ('names', 'mirrors'),
    [(['left', 'right'], ((1, 0), (1, 0))), (None, None)],
)
def test_yolo_mirrors_by_names(tmp_path, names, mirrors):
    entries = dict(kpt_names=names) if names else {}
    write_yolo(
        tmp_path, '1 .5 .5 .5 .5 .1 .1 .2 .2', kpt_shape=[2, 2], **entries
    )
    info = load_yolo(tmp_path).get_data_info(0)['keypoint_info']
    assert info['mirrors'] == mirrors
    given = load_yolo(tmp_path, flip_pairs=[[0, 1]]).get_data_info(0)
    assert given['keypoint_info']['mirrors'] == ((1, 0), (1, 0))


def custom_config(root):
    cfg = Config.fromfile('configs/rfdetr_pose/rfdetr-pose_preview_custom.py')
    cfg.data_root = str(root)
    return cfg


def test_own_data_in_roboflows_layout(tmp_path):
    """An unused parent category is no class, keypoints or not."""
    for split in ('train', 'valid'):
        file = content(PERSON, dict(category_id=2, keypoints=[7, 8, 2]))
        file['categories'] = [
            dict(id=0, name='things', supercategory='none'),
            *file['categories'][:2],
        ]
        for category in file['categories'][1:]:
            category['supercategory'] = 'things'
        build(tmp_path / split, file, ('person', 'dot'))
        (tmp_path / split / 'file.json').rename(
            tmp_path / split / '_annotations.coco.json'
        )
    cfg = custom_config(tmp_path)
    resolve_own_data(cfg)
    head = cfg.model.bbox_head
    # by category id
    assert cfg.train_dataloader.dataset.metainfo.classes == ('dot', 'person')
    assert (head.num_classes, tuple(head.num_keypoints)) == (2, (1, 3))
    assert cfg.val_evaluator.type == 'NamedOksMetric'
    assert cfg.val_evaluator.ann_file.endswith('valid/_annotations.coco.json')


def test_own_data_in_yolos_layout(tmp_path):
    write_yolo(tmp_path, '1 .5 .5 .5 .5 .1 .1 .2 .2 .3 .3', kpt_shape=[3, 2])
    cfg = custom_config(tmp_path)
    resolve_own_data(cfg)
    assert tuple(cfg.model.bbox_head.num_keypoints) == (3, 3)
    assert cfg.val_evaluator.ann_file is None
    assert 'instances' in cfg.val_dataloader.dataset.pipeline[-1].meta_keys
