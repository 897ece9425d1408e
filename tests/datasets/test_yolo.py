import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from mmdet.registry import DATASETS
from mmengine.dataset import Compose
from PIL import Image

from rfdetr_mm.datasets import YoloDataset
from rfdetr_mm.errors import InputError

NAMES = ['cat', 'dog']


def write_set(root: Path, content: dict, files: dict[str, str | None]) -> str:
    """Write data.yaml, grey images of 40 x 80 px (H x W) and label files."""
    root.mkdir(parents=True, exist_ok=True)
    (root / 'data.yaml').write_text(yaml.safe_dump(content))
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            Image.new('RGB', (80, 40), (90, 90, 90)).save(root / name)
        else:
            (root / name).write_text(text)
    return str(root)


def load(root: str, split: str = 'train', **options) -> list[dict]:
    dataset = DATASETS.build(
        dict(
            type='YoloDataset',
            data_root=root,
            ann_file='data.yaml',
            split=split,
            serialize_data=False,
            **options,
        )
    )
    return [dataset.get_data_info(i) for i in range(len(dataset))]


@pytest.fixture
def simple(tmp_path):
    """Return a function: the labels of one image, read from text."""

    def read(text: str, **options) -> list[dict]:
        root = write_set(
            tmp_path / 'set',
            dict(names=NAMES, train='images/train'),
            {'images/train/1.png': None, 'labels/train/1.txt': text},
        )
        return load(root, **options)[0]['instances']

    return read


@pytest.mark.parametrize(
    'line, bbox',
    [
        ('1 0.5 0.5 0.25 0.5', [30, 10, 50, 30]),
        ('1 0.1 0.1 0.4 0.4', [0, 0, 24, 12]),  # cut at the border
        ('1.0 1 1 0.5 0.5', [60, 30, 80, 40]),
        ('  1\t0.5 0.5 1.0004 1  ', [0, 0, 80, 40]),  # rounded too far
        ('1 0.25 0.5 0.75 0.5 0.5 0.75', [20, 20, 60, 30]),  # an outline
    ],
)
def test_boxes_by_hand(simple, line, bbox):
    (instance,) = simple(line + '\n\n')
    np.testing.assert_allclose(instance['bbox'], bbox, atol=1e-4)
    assert (instance['bbox_label'], instance['ignore_flag']) == (1, 0)


@pytest.mark.parametrize(
    'text',
    [
        '',
        '\n \n',
        '0 0.5 0.5 0 0.5\n',
        '0 0.5 0.5 0.5 0\n',
        '0 .1 .1 .2 .1 .3 .1',
    ],
)
def test_nothing_without_an_area(simple, text):
    assert simple(text, test_mode=True) == []
    with pytest.raises(InputError, match='no box to train on.*1 images, 0 b'):
        simple(text)


@pytest.mark.parametrize(
    'line, words',
    [
        ('0 0.5 0.5 0.5', '3 numbers after the class'),
        ('0 0.5 0.5 0.5 0.5 0.5', '5 numbers after the class'),
        ('0 .1 .1 .2 .1 .3 .1 .4', '7 numbers after the class'),
        ('0', '0 numbers after the class'),
        ('dog 0.5 0.5 0.5 0.5', "not a number in 'dog 0.5"),
        ('0 0.5 0,5 0.5 0.5', "not a number in '0 0.5 0,5"),
        ('2 0.5 0.5 0.5 0.5', 'class 2 is none of 0 ... 1'),
        ('-1 0.5 0.5 0.5 0.5', 'class -1 is none'),
        ('0.5 0.5 0.5 0.5 0.5', 'class 0.5 is none'),
        ('0 30 20 10 10', '30.0 is not a part .* divided by the size'),
        ('0 0.5 0.5 -0.5 0.5', '-0.5 is not a part'),
        ('0 0.5 0.5 nan 0.5', 'nan is not a part'),
    ],
)
def test_bad_line_is_named(simple, line, words):
    with pytest.raises(
        InputError, match=rf'1\.txt, line 3: .*{words}'
    ) as error:
        simple(f'0 .5 .5 .5 .5\n\n{line}\n')
    assert os.path.join('labels', 'train') in str(error.value)


def test_outlines_become_masks(simple, tmp_path):
    (instance,) = simple('0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75')
    assert instance['mask'] == [[20, 10, 60, 10, 60, 30, 20, 30]]
    results = Compose(
        [dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]
    )(dict(instances=[instance], ori_shape=(40, 80), height=40, width=80))
    mask = results['gt_masks'].masks[0]
    assert mask.shape == (40, 80)
    rows, columns = mask.nonzero()
    assert (rows.min(), columns.min()) == (10, 20)
    assert abs(mask.sum() - 20 * 40) <= 61  # half of its border


MASKS = [dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]
BOX = '0 .5 .5 .5 .5\n'
OUTLINE = '1 .25 .25 .75 .25 .75 .75 .25 .75\n'


def test_objects_without_mask_are_left_out(simple, log_lines):
    folded = '0 .1 .1 .9 .9 .1 .1\n'  # back on the same line
    (only,) = simple(BOX + OUTLINE + folded, pipeline=MASKS)
    assert only['bbox_label'] == 1
    words = "'train': 1 masks. Left out: 1 without mask, 1 with a mask witho"
    assert any(words in line for line in log_lines)
    assert len(simple(BOX + OUTLINE)) == 2


def test_validation_leaves_out_the_same_objects(simple, log_lines):
    (only,) = simple(BOX + OUTLINE, with_mask=True, test_mode=True)
    assert only['bbox_label'] == 1
    (line,) = [line for line in log_lines if 'masks' in line]
    assert '1 without mask, the first one in' in line and '1.txt' in line


def test_boxes_alone_are_no_masks(simple):
    with pytest.raises(InputError, match='no mask to train on.*2 without m'):
        simple(BOX + BOX, pipeline=MASKS)
    assert simple(BOX, pipeline=MASKS, test_mode=True) == []


def test_images_without_labels_have_no_objects(tmp_path):
    root = write_set(
        tmp_path,
        dict(names=NAMES, train='images/train'),
        {
            'images/train/b.PNG': None,
            'images/train/sub/a.jpg': None,
            'images/train/notes.txt': 'no image',
            'labels/train/sub/a.txt': '0 .5 .5 .5 .5',
        },
    )
    first, second = load(root)
    assert first['img_path'].endswith('b.PNG') and not first['instances']
    assert (first['height'], first['width']) == (40, 80)
    assert [d['img_id'] for d in (first, second)] == [0, 1]
    assert len(second['instances']) == 1
    (only,) = load(root, filter_cfg=dict(filter_empty_gt=True))
    assert only['img_path'] == second['img_path']
    assert len(load(root, filter_cfg=dict(filter_empty_gt=False))) == 2
    assert len(load(root, filter_cfg=dict(min_size=40))) == 2
    tested = load(root, test_mode=True, filter_cfg=dict(filter_empty_gt=True))
    assert len(tested) == 2


@pytest.mark.parametrize(
    'content, images',
    [
        (dict(train='images/train'), 'images/train'),
        (dict(path='inner', train='images'), 'inner/images'),
        (dict(path='elsewhere', train='images'), 'images'),  # a stock path
        (dict(train='../train/images'), 'train/images'),  # Roboflow's
        (dict(train=['images/a', 'images/b']), 'images/b'),
        (dict(), 'train/images'),
        (dict(), 'images/train'),
    ],
)
def test_where_the_images_are(tmp_path, content, images):
    labels = images.replace('images', 'labels')
    (tmp_path / 'images/a').mkdir(parents=True)
    root = write_set(
        tmp_path,
        dict(names=NAMES, **content),
        {f'{images}/1.png': None, f'{labels}/1.txt': '1 .5 .5 .5 .5'},
    )
    (data,) = load(root)
    assert Path(data['img_path']).resolve() == tmp_path / images / '1.png'
    assert len(data['instances']) == 1


@pytest.mark.parametrize('key', ['val', 'valid'])
def test_validation_has_two_names(tmp_path, key):
    root = write_set(
        tmp_path, {'names': NAMES, key: 'v/images'}, {'v/images/1.png': None}
    )
    assert len(load(root, split='val', test_mode=True)) == 1


def test_list_of_images(tmp_path):
    root = write_set(
        tmp_path,
        dict(names=NAMES, train='train.txt'),
        {
            'images/2.png': None,
            'images/1.png': None,
            'images/3.png': None,
            'labels/1.txt': '0 .5 .5 .5 .5',
            'train.txt': './images/2.png\n\nimages/1.png\n',
        },
    )
    first, second = load(root)
    assert first['img_path'].endswith('1.png') and len(first['instances']) == 1
    assert second['img_path'].endswith('2.png')


def test_names_as_a_mapping_and_in_another_order(tmp_path):
    files = {'images/1.png': None, 'labels/1.txt': '10 .5 .5 .5 .5'}
    names = {i: f'class{i}' for i in range(12)}
    root = write_set(tmp_path, dict(names=names, train='images'), files)
    assert load(root)[0]['instances'][0]['bbox_label'] == 10
    dataset = YoloDataset(data_root=root, ann_file='data.yaml')
    assert dataset.metainfo['classes'] == tuple(names.values())
    other = tuple(reversed(names.values()))
    data = load(root, metainfo=dict(classes=other))
    assert data[0]['instances'][0]['bbox_label'] == 1


@pytest.mark.parametrize(
    'content, words',
    [
        ('names: [a', 'cannot be read as YAML'),
        ('just text', 'no class names'),
        ('names: []', 'no class names'),
        ('names: abc', "no class names.*'abc'"),
        ('names: {0: a, x: b}', "whole numbers.* got 'x'"),
        ('names: {0: a, "00": b}', 'number 00 twice'),
        ('names: [a, a]', 'given twice'),
        ('names: [a]\ntrain: nowhere', "'train' are not there.*nowhere"),
        ('names: [a]\ntrain: [bad, nowhere]', 'are not there.*nowhere'),
        ('names: [a]', 'train/images.*images/train'),
        ('names: [a]\ntrain: empty', "no images of the split 'train'"),
        ('names: [a]\ntrain: bad', 'broken.jpg cannot be read: cannot id'),
        ('names: [a]\ntrain: lists.txt', 'no image file .*gone.jpg'),
    ],
)
def test_bad_data_is_explained(tmp_path, content, words):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'bad').mkdir()
    (tmp_path / 'bad/broken.jpg').write_text('no image')
    (tmp_path / 'lists.txt').write_text('gone.jpg')
    (tmp_path / 'data.yaml').write_text(content)
    with pytest.raises(InputError, match=words):
        load(str(tmp_path))


def test_missing_yaml_and_missing_class_are_explained(tmp_path):
    with pytest.raises(InputError, match='data.yaml cannot be read'):
        load(str(tmp_path))
    root = write_set(
        tmp_path, dict(names=NAMES, train='images'), {'images/1.png': None}
    )
    with pytest.raises(InputError, match='lacks: dog.'):
        load(root, metainfo=dict(classes=('cat', 'bird')))


def test_metainfo_survives_json(tmp_path):
    """A checkpoint's dataset_meta carries the names."""
    root = write_set(
        tmp_path, dict(names=NAMES, train='images'), {'images/1.png': None}
    )
    dataset = YoloDataset(data_root=root, ann_file='data.yaml', test_mode=True)
    assert json.loads(json.dumps(dataset.metainfo))['classes'] == NAMES
