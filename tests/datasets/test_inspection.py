"""Every kind of finding, on a small data set with one thing changed."""

import json
import logging
import re
import shutil

import pytest
from mmdet.registry import DATASETS
from mmengine.logging import MMLogger
from PIL import Image

from rfdetr_mm.datasets.inspection import inspect_data_set, report_lines
from rfdetr_mm.errors import InputError
from tests.data_factory import LAYOUT_FILES, edit_json, write_layout

LAYOUTS = [*LAYOUT_FILES, 'yolo']


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp('drawn')
    for layout in LAYOUTS:
        write_layout(folder / layout, layout)
    return folder


@pytest.fixture
def root(drawn, tmp_path):
    """A Roboflow data set: two images and an empty one in each split."""
    return shutil.copytree(drawn / 'roboflow', tmp_path / 'set')


@pytest.fixture
def yolo(drawn, tmp_path):
    return shutil.copytree(drawn / 'yolo', tmp_path / 'yolo')


def edit(root, change, split='train'):
    edit_json(root / LAYOUT_FILES['roboflow'][split][0], change)


def kinds(found):
    return [(f.level, f.kind, f.split) for f in found.findings]


@pytest.mark.parametrize('layout', LAYOUTS)
def test_nothing_odd(drawn, layout):
    found = inspect_data_set(str(drawn / layout))
    assert found.layout == layout and set(found.classes) == {'disc', 'square'}
    assert list(found.objects) == ['train', 'val', 'test']
    for counts in found.objects.values():
        assert (counts.images, counts.background, counts.boxes) == (3, 1, 6)
        assert counts.small + counts.medium + counts.large == 6
        assert counts.per_class.total() == 6
    assert found.pictures['val']['sizes']['width'] == dict(
        min=50, median=60, max=90
    )
    serious = [f for f in found.findings if f.level != 'note']
    assert serious == [] and found.is_ok(strict=True)
    assert [line for line in report_lines(found) if 'square' in line]


def add(**fields):
    def change(content):
        first = content['annotations'][0]
        content['annotations'].append({**first, 'id': 99, **fields})

    return change


def set_first(key, **fields):
    return lambda content: content[key][0].update(fields)


CHANGES = [
    (
        set_first('annotations', bbox=[5, 5, 0, 9]),
        ('warning', 'left out', 'train'),
        '1 objects without area are left out',
    ),
    (
        set_first('annotations', bbox=[500, 5, 9, 9]),
        ('warning', 'left out', 'train'),
        '1 objects wholly outside their image are left out',
    ),
    (
        set_first('annotations', image_id=77),
        ('warning', 'left out', 'train'),
        '1 objects whose image_id no image has are left out',
    ),
    (add(), ('warning', 'repeated objects', 'train'), '1 objects have the cl'),
    (
        set_first('annotations', bbox=[5, 5, 1.5, 30]),
        ('note', 'tiny boxes', 'train'),
        '1 boxes have a side under 2 px',
    ),
    (
        set_first('annotations', bbox=[-5, 5, 20, 20]),
        ('note', 'cut boxes', 'train'),
        '1 boxes are cut',
    ),
    (
        set_first('annotations', iscrowd=1),
        ('warning', 'crowds', 'train'),
        '1 of 6 objects are marked as crowds',
    ),
    (
        set_first('images', file_name='gone.png'),
        ('error', 'missing images', 'train'),
        '1 of 3 image files are not there',
    ),
    (
        set_first('images', height=61),
        ('error', 'another size', 'train'),
        '1 images have another size than',
    ),
    (
        lambda content: content['annotations'].clear(),
        ('error', 'no object', 'train'),
        'there is no box to train on',
    ),
    (
        lambda content: content['categories'].append(dict(id=9, name='x')),
        ('warning', 'class without boxes', 'train'),
        '1 of 3 classes have no box',
    ),
    (
        set_first('annotations', bbox=[1, 2, 3]),
        ('error', 'wrong entry', 'train'),
        r'annotations\[…\].bbox must be four finite numbers',
    ),
]


@pytest.mark.parametrize(
    'change, expected, text', CHANGES, ids=[c[1][1] for c in CHANGES]
)
def test_a_changed_annotation_file(root, change, expected, text):
    edit(root, change)
    found = inspect_data_set(str(root))
    assert expected in kinds(found)
    (finding,) = [
        f for f in found.findings if (f.level, f.kind, f.split) == expected
    ]
    assert re.search(text, finding.text), finding.text
    assert found.is_ok() == (expected[0] != 'error')
    assert found.is_ok(strict=True) == (expected[0] == 'note')
    json.dumps(found.as_dict())
    # What is known of the other splits is told all the same.
    assert found.objects['val'].boxes == 6


def test_counts_agree_with_what_training_makes_of_them(root):
    """An independent count: the data set that training builds."""
    edit(root, set_first('annotations', bbox=[5, 5, 0, 9]))
    edit(root, add(iscrowd=1))
    found = inspect_data_set(str(root)).objects['train']
    ann_file, images = LAYOUT_FILES['roboflow']['train']
    dataset = DATASETS.build(
        dict(
            type='NamedCocoDataset',
            data_root=str(root),
            ann_file=ann_file,
            data_prefix=dict(img=images),
            metainfo=dict(classes=('disc', 'square')),
        )
    )
    instances = [
        instance
        for i in range(len(dataset))
        for instance in dataset.get_data_info(i)['instances']
    ]
    flags = [instance['ignore_flag'] for instance in instances]
    assert (found.boxes, found.ignored) == (flags.count(0), flags.count(1))
    assert found.left_out.total() == 7 - len(instances)


def test_classes_that_training_does_not_know(root):
    edit(root, set_first('categories', name='ball'), 'val')
    found = inspect_data_set(str(root))
    (error,) = [f for f in found.findings if f.level == 'error']
    assert error.kind == 'class names' and 'ball' in error.text


def test_copies_and_names_between_splits(root):
    source = root / 'train' / 'train 1.png'
    (root / 'valid' / 'val 1.png').write_bytes(source.read_bytes())
    for split, folder in (('train', 'train'), ('test', 'test')):
        (root / folder / f'{split} 3.png').rename(root / folder / 'same.png')
        edit(
            root, lambda c: c['images'][2].update(file_name='same.png'), split
        )
    found = inspect_data_set(str(root))
    assert ('warning', 'copies between splits', None) in kinds(found)
    assert ('note', 'same names', None) in kinds(found)
    (group,) = found.copies
    assert [path.rpartition('/')[2] for path in group] == [
        'train 1.png',
        'val 1.png',
    ]
    assert [s.reason for s in found.suspects] == ['the same in train and val']


def test_one_image_in_two_splits(drawn, tmp_path):
    root = shutil.copytree(drawn / 'flat', tmp_path / 'flat')
    shutil.copy(root / 'train.json', root / 'val.json')
    found = inspect_data_set(str(root))
    (finding,) = [f for f in found.findings if f.level == 'warning']
    assert finding.kind == 'copies between splits' and finding.count == 3


def test_copies_in_a_split_are_a_note(root):
    source = root / 'train' / 'train 1.png'
    (root / 'train' / 'train 4.png').write_bytes(source.read_bytes())
    edit(
        root,
        lambda c: c['images'].append(
            dict(c['images'][0], id=44, file_name='train 4.png')
        ),
    )
    found = inspect_data_set(str(root))
    assert ('note', 'copies in a split', None) in kinds(found)
    assert found.is_ok(strict=True)


def test_images_that_are_not_listed(root):
    shutil.copy(root / 'test' / 'test 1.png', root / 'train' / 'more.png')
    (finding,) = [
        f
        for f in inspect_data_set(str(root)).findings
        if f.kind == 'unlisted images'
    ]
    assert finding.count == 1 and finding.examples[0].endswith('more.png')


def save_turned(path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(path) as picture:
        picture.load()
    picture.save(path, exif=exif)


@pytest.mark.parametrize('orientation, is_said', [(3, True), (6, False)])
def test_turned_pictures(root, orientation, is_said):
    save_turned(root / 'train' / 'train 1.png', orientation)
    found = inspect_data_set(str(root))
    expected = ('warning', 'turned images', 'train')
    # Height and width, which differ, tell what orientation 6 means.
    assert (expected in kinds(found)) == is_said
    assert found.pictures['train']['orientations'] == {
        '1': 2,
        str(orientation): 1,
    }


def test_turned_pictures_of_yolo(yolo):
    save_turned(yolo / 'train' / 'images' / 'train 1.png', 6)
    found = inspect_data_set(str(yolo))
    assert ('warning', 'turned images', 'train') in kinds(found)


@pytest.mark.parametrize(
    'split, level', [('train', 'warning'), ('val', 'error')]
)
def test_pictures_that_cannot_be_read(root, split, level):
    """Training draws another image; an evaluation stops."""
    ann_file, folder = LAYOUT_FILES['roboflow'][split]
    (root / folder / f'{split} 1.png').write_bytes(b'')
    found = inspect_data_set(str(root))
    assert (level, 'unreadable image', split) in kinds(found)


def test_pictures_that_are_cut_off_need_decoding(root):
    path = root / 'valid' / 'val 1.png'
    path.write_bytes(path.read_bytes()[:-300])
    expected = ('error', 'unreadable image', 'val')
    assert expected not in kinds(inspect_data_set(str(root)))
    assert expected in kinds(inspect_data_set(str(root), decode=True))


def test_masks(root):
    found = inspect_data_set(str(root), with_mask=True)
    assert found.objects['train'].left_out == {'without mask': 6}
    assert ('error', 'no object', 'train') in kinds(found)


def test_crowds_as_objects(root):
    edit(root, set_first('annotations', iscrowd=1))
    found = inspect_data_set(str(root), crowd_as_object=True)
    assert found.objects['train'].boxes == 6


def test_a_single_file(drawn):
    root = drawn / 'flat'
    found = inspect_data_set(str(root / 'val.json'))
    assert found.layout is None and list(found.objects) == ['file']
    assert found.objects['file'].boxes == 6
    found = inspect_data_set(
        str(root / 'val.json'), image_folder=str(root / 'images')
    )
    assert found.is_ok() and found.objects['file'].images == 3


def test_a_yaml_file_and_labels_without_area(yolo):
    label = yolo / 'train' / 'labels' / 'train 1.txt'
    label.write_text(label.read_text() + '\n0 0.5 0.5 0 0.1\n')
    found = inspect_data_set(str(yolo / 'data.yaml'))
    assert found.layout == 'yolo'
    assert found.objects['train'].left_out == {'without area': 1}
    (yolo / 'valid' / 'labels' / 'val 1.txt').write_text('7 1 1 1 1')
    found = inspect_data_set(str(yolo))
    assert ('error', 'wrong entry', 'val') in kinds(found)


def test_all_bad_entries_are_listed(root):
    """Counted by rule, a few places of each, and the others are looked at."""

    def spoil(content):
        first = content['annotations'][0]
        for number, fields in enumerate(
            [
                *({'bbox': [1, 2, 3]},) * 9,
                *({'bbox': None, 'category_id': 77},) * 2,
                {'iscrowd': 5},
                {'area': 'x'},
                {'image_id': 'x'},
            ]
        ):
            content['annotations'].append(
                {**first, 'id': 500 + number, **fields}
            )
        content['annotations'] += [7, {**first, 'id': 500}]
        content['images'].append(dict(content['images'][0], id=900, width=0))

    edit(root, spoil)
    found = inspect_data_set(str(root))
    bad = {
        f.text.partition(': ')[2]: f
        for f in found.findings
        if f.kind == 'wrong entry'
    }
    counts = sorted(f.count for f in bad.values())
    assert counts == [1, 1, 1, 1, 1, 1, 2, 9]
    (boxes,) = [f for text, f in bad.items() if '.bbox must be' in text]
    assert boxes.count == 9 and len(boxes.examples) == 5
    assert 'annotations[6].bbox is [1, 2, 3]' in boxes.examples[0]
    assert all(f.level == 'error' and f.split == 'train' for f in bad.values())
    # The others of the split are counted as before.
    assert found.objects['train'].boxes == 6
    assert not found.is_ok()
    text = '\n'.join(report_lines(found))
    assert text.count('.bbox is [1, 2, 3]') == 5 and 'but 9 are not so' in text


def test_all_bad_lines_are_listed(yolo):
    label = yolo / 'train' / 'labels' / 'train 1.txt'
    lines = [
        '0 0.5',
        '0 0.5 0.5 x 0.1',
        '9 0.5 0.5 0.1 0.1',
        *['0 2 2 1 1'] * 7,
    ]
    label.write_text('\n'.join([label.read_text().rstrip(), *lines]))
    (yolo / 'train' / 'images' / 'train 2.png').write_bytes(b'no picture')
    found = inspect_data_set(str(yolo))
    bad = {f.text: f for f in found.findings if f.kind == 'wrong entry'}
    assert sorted(f.count for f in bad.values()) == [1, 1, 1, 1, 7]
    for part in (
        'numbers are needed',
        'all must be numbers',
        'one of the numbers of names',
        'between 0 and 1',
        'images must be readable',
    ):
        (finding,) = [f for text, f in bad.items() if part in text]
        assert str(yolo) in finding.examples[0]
    assert found.objects['train'].images == 2


def test_nothing_but_bad_entries(root, yolo):
    edit(root, lambda c: [image.pop('file_name') for image in c['images']])
    found = inspect_data_set(str(root))
    assert kinds(found)[0] == ('error', 'wrong entry', 'train')
    assert found.findings[0].count == 3 and 'train' not in found.objects
    for path in (yolo / 'train' / 'images').iterdir():
        path.write_bytes(b'')
    found = inspect_data_set(str(yolo))
    assert kinds(found)[0] == ('error', 'wrong entry', 'train')
    assert found.findings[0].count == 3


def test_thousands_of_pictures_are_one_finding(root):
    def spoil(content):
        for image in content['images']:
            image['height'] += 1

    edit(root, spoil)
    found = inspect_data_set(str(root))
    (finding,) = [f for f in found.findings if f.kind == 'another size']
    assert finding.count == 3 and len(finding.examples) == 3
    assert 'has 60 x 90 pixels' in finding.examples[0]


def test_a_missing_split_is_an_error(root):
    shutil.rmtree(root / 'valid')
    found = inspect_data_set(str(root))
    assert kinds(found)[0] == ('error', 'unusable split', 'val')
    assert "no file for the split 'val'" in found.findings[0].text


@pytest.mark.parametrize(
    'make, message',
    [
        (lambda p: None, 'does not exist'),
        (lambda p: p.mkdir(), 'No data set was found'),
        (lambda p: p.write_text('no'), 'is not a JSON file'),
    ],
)
def test_nothing_to_look_at(tmp_path, make, message):
    make(tmp_path / 'x')
    with pytest.raises(InputError, match=message):
        inspect_data_set(str(tmp_path / 'x'))


def test_an_image_folder_is_for_single_files(root):
    with pytest.raises(InputError, match='goes with a single COCO'):
        inspect_data_set(str(root), image_folder=str(root))


def test_the_readers_log_nothing(root, capfd):
    logger = MMLogger.get_current_instance()
    logger.setLevel(logging.INFO)
    edit(root, set_first('annotations', bbox=[5, 5, 0, 9]))
    inspect_data_set(str(root))
    assert capfd.readouterr() == ('', '')
    assert logger.level == logging.INFO


def test_labels_and_images_of_yolo_that_do_not_meet(yolo):
    (image, *_) = sorted((yolo / 'train/images').iterdir())
    image.rename(image.with_suffix('.gif'))  # which no reader lists
    (lonely, *_) = sorted((yolo / 'valid/labels').glob('*.txt'))
    lonely.rename(lonely.with_name(f'x{lonely.name}'))
    (yolo / 'train/labels/classes.txt').write_text('disc\nsquare\n')
    (yolo / 'train/labels/empty.txt').touch()
    found = inspect_data_set(str(yolo))
    assert ('warning', 'labels without image', None) in kinds(found)
    (finding,) = [f for f in found.findings if 'label files belong' in f.text]
    assert finding.count == 2 and '.png' in finding.text
    assert {path.rpartition('/')[2] for path in finding.examples} == {
        f'{image.stem}.txt',
        f'x{lonely.name}',
    }
    (finding,) = [f for f in found.findings if f.kind == 'no label file']
    assert finding.level == 'note' and str(lonely) in finding.examples
