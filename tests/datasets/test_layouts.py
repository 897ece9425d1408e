import os

import pytest

from rfdetr_mm.datasets.layouts import (
    detect_layout,
    find_images,
    image_folders,
)
from rfdetr_mm.errors import InputError

ROBOFLOW = [
    f'{folder}/_annotations.coco.json' for folder in ('train', 'valid', 'test')
]
COCO = [
    f'annotations/instances_{split}2017.json'
    for split in ('train', 'val', 'test')
]
FLAT = ['train.json', 'val.json', 'test.json']


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return str(root)


@pytest.mark.parametrize(
    'name, files',
    [('roboflow', ROBOFLOW), ('coco', COCO), ('flat', FLAT)],
)
@pytest.mark.parametrize('asked', ['auto', 'by name'])
def test_every_layout_is_detected(tmp_path, name, files, asked):
    root = touch(tmp_path, *files, 'README.roboflow.txt', 'images/1.jpg')
    layout = name if asked == 'by name' else 'auto'
    found, splits = detect_layout(root, layout)
    assert found == name
    assert [splits[s] for s in ('train', 'val', 'test')] == files


@pytest.mark.parametrize('files', [ROBOFLOW, COCO, FLAT])
def test_the_test_split_may_be_missing(tmp_path, files):
    _, splits = detect_layout(touch(tmp_path, *files[:2]))
    assert set(splits) == {'train', 'val'}


@pytest.mark.parametrize('lost, split', [(0, 'train'), (1, 'val')])
@pytest.mark.parametrize('files', [ROBOFLOW, COCO, FLAT])
def test_other_splits_may_not(tmp_path, files, lost, split):
    rest = [file for file in files if file != files[lost]]
    root = touch(tmp_path, *rest)
    with pytest.raises(InputError) as error:
        detect_layout(root)
    message = str(error.value)
    assert f"no file for the split '{split}'" in message
    assert f'{split}_dataloader.dataset.ann_file' in message
    assert all(file in message for file in [root, *rest])
    assert ('config in its work dir' in message) == (split == 'train')


@pytest.mark.parametrize(
    'name, split',
    [
        ('instances_train.json', 'train'),
        ('instances_val2014.json', 'val'),
        ('instances_test-dev.json', 'test'),
        ('instances_trainval2014.json', None),
        ('instances_valminusminival2014.json', None),
        ('instances_train2017.json.bak', None),
        ('person_keypoints_train2017.json', None),
        ('image_info_test2017.json', None),
    ],
)
def test_names_of_coco_files(tmp_path, name, split):
    given = [s for s in ('train', 'val') if s != split]
    touch(tmp_path, f'annotations/{name}')
    if split is None:
        with pytest.raises(InputError, match='No data set was found'):
            detect_layout(str(tmp_path))
    else:
        _, splits = detect_layout(str(tmp_path), given=given)
        assert splits[split] == f'annotations/{name}'


def test_several_files_of_one_split_are_an_error(tmp_path):
    other = 'annotations/instances_train2014.json'
    root = touch(tmp_path, *COCO, other)
    with pytest.raises(
        InputError,
        match=f'{other} and {COCO[0]}.*train_dataloader.dataset.ann_file',
    ):
        detect_layout(root)
    _, splits = detect_layout(root, given=['train'])
    assert set(splits) == {'val', 'test'}


def test_two_layouts_are_an_error_unless_one_is_chosen(tmp_path):
    root = touch(tmp_path, *FLAT, *COCO)
    with pytest.raises(InputError) as error:
        detect_layout(root)
    for part in (
        'coco',
        *COCO,
        'flat',
        *FLAT,
        'dataset_layout=',
        'dataset_file=',
    ):
        assert part in str(error.value)
    for name, files in (('coco', COCO), ('flat', FLAT)):
        found, splits = detect_layout(root, name)
        assert (found, splits['val']) == (name, files[1])
    with pytest.raises(InputError, match='No data set.*_annotations.coco'):
        detect_layout(root, 'roboflow')


def test_an_unknown_folder_lists_what_was_looked_for(tmp_path):
    root = touch(tmp_path, *[f'{n:02}.txt' for n in range(20)], '00/a/b.txt')
    with pytest.raises(InputError) as error:
        detect_layout(root)
    message = str(error.value)
    for part in (
        root,
        '{train,valid,test}/_annotations.coco.json (roboflow)',
        'annotations/instances_{train,val,test}*.json (coco)',
        '{train,val,test}.json (flat)',
        '00/, 00.txt, 01.txt',
        '… (21)',
    ):
        assert part in message
    assert '19.txt' not in message and '\n' not in message


@pytest.mark.parametrize(
    'names, hint',
    [
        ([], 'The folder is empty.'),
        (['my set/train.json'], 'Did you mean the folder .*my set'),
        (
            ['Annotations/1.xml', 'JPEGImages/1.jpg'],
            'Pascal VOC: .*rfdetr_nano_voc.py',
        ),
        (['valid.json', 'training.json'], 'holds: training.json, valid.json'),
    ],
)
def test_hints(tmp_path, names, hint):
    with pytest.raises(InputError, match=hint):
        detect_layout(touch(tmp_path, *names))


def test_no_folder(tmp_path):
    root = touch(tmp_path, 'file')
    for name, what in (
        ('nothing', 'does not exist'),
        ('file', 'is not a folder'),
    ):
        path = os.path.join(root, name)
        with pytest.raises(InputError, match=f'{path}.*{what}.*data_root='):
            detect_layout(path)


def test_unknown_layouts_name_the_known_ones(tmp_path):
    known = 'auto, roboflow, coco, flat, webdataset, yolo'
    with pytest.raises(InputError, match=f"'voc'.*{known}"):
        detect_layout(str(tmp_path), 'voc')


def test_nothing_is_needed_where_all_is_given(tmp_path):
    given = ('train', 'val')
    assert detect_layout(str(tmp_path), given=given) == (None, {})
    root = touch(tmp_path, 'test.json')
    name, splits = detect_layout(root, given=given)
    assert (name, list(splits)) == ('flat', ['test'])
    assert detect_layout(root, 'coco', given) == (None, {})


@pytest.mark.parametrize(
    'ann_file, images, folder',
    [
        (ROBOFLOW[0], 'train/a.jpg', 'train'),
        (COCO[0], 'train2017/a.jpg', 'train2017'),
        (COCO[0], 'train/a.jpg', 'train'),
        (COCO[0], 'images/train2017/a.jpg', 'images/train2017'),
        (COCO[0], 'images/train/a.jpg', 'images/train'),
        (COCO[0], 'images/a.jpg', 'images'),
        (COCO[0], 'a.jpg', ''),
        (FLAT[0], 'images/a.jpg', 'images'),
        (FLAT[0], 'images/train/a.jpg', 'images/train'),
        (FLAT[0], 'train/a.jpg', 'train'),
        (FLAT[0], 'a.jpg', ''),
        ('any.json', 'images/train/a.jpg', 'images/train'),
        ('sub/any.json', 'sub/a.jpg', 'sub'),
    ],
)
def test_images_are_found(tmp_path, ann_file, images, folder):
    # The same name in the folder of another split must not be taken.
    decoys = [f'{f}/a.jpg' for f in ('val', 'val2017', 'valid', 'images/val')]
    root = touch(tmp_path, images, *decoys)
    folders = image_folders(ann_file, 'train')
    assert find_images(root, ann_file, folders, ['a.jpg']) == folder


def test_the_most_special_folder_is_taken(tmp_path):
    folders = image_folders('annotations/instances_val2017.json', 'val')
    root = touch(tmp_path, *(os.path.join(f, '1.jpg') for f in folders))
    assert len(folders) == len(set(folders)) == 7
    for number, folder in enumerate(folders):
        assert find_images(root, 'x', folders[number:], ['1.jpg']) == folder
    order = ['val2017', 'images/val2017', 'images', '']
    assert sorted(order, key=folders.index) == order


@pytest.mark.parametrize(
    'file_name, folder',
    [('sub/ü 1.jpg', 'images'), ('images/sub/ü 1.jpg', '')],
)
def test_file_names_may_contain_folders(tmp_path, file_name, folder):
    root = touch(tmp_path, 'images/sub/ü 1.jpg')
    folders = image_folders('train.json', 'train')
    assert find_images(root, 'train.json', folders, [file_name]) == folder


def test_the_folder_with_most_of_the_first_images_is_taken(tmp_path):
    root = touch(tmp_path, 'a/1.jpg', 'b/1.jpg', 'b/2.jpg', 'c/2.jpg')
    folders = ('a', 'b', 'c')
    names = ['0.jpg', '1.jpg', '2.jpg']
    assert find_images(root, 'x.json', folders, names) == 'b'
    assert find_images(root, 'x.json', folders, ['1.jpg']) == 'a'


def test_images_that_are_nowhere(tmp_path):
    root = touch(tmp_path, 'val.json', 'pictures/1.jpg')
    folders = image_folders('val.json', 'val')
    with pytest.raises(InputError) as error:
        find_images(root, 'val.json', folders, ['1.jpg'])
    for part in ('val.json', 'images/val/1.jpg', 'images/1.jpg', 'val/1.jpg'):
        assert os.path.join(root, part) in str(error.value)
