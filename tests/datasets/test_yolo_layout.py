"""Where the YOLO layout keeps things, in the forms of real exporters."""

from pathlib import Path

import pytest
from PIL import Image

from rfdetr_mm.datasets.layouts import detect_layout
from rfdetr_mm.datasets.yolo_layout import YoloLayout, read_yolo_yaml
from rfdetr_mm.errors import InputError
from tests.datasets.test_yolo import NAMES, load, write_set

BOX = '0 .5 .5 .5 .5\n'


@pytest.mark.parametrize(
    'image, label',
    [
        ('images/a/images/b/1.png', 'images/a/labels/b/1.txt'),
        ('a/b/1.x.png', 'a/b/1.x.txt'),
        ('a/images', 'a/images.txt'),
        ('../images/1.png', '../labels/1.txt'),
    ],
)
@pytest.mark.parametrize('root', ['', 'my/images/set', '/data/images'])
def test_label_files_mirror_the_images_below_the_root(root, image, label):
    layout = YoloLayout(str(Path(root, 'data.yaml')), ('a',), {0: 0}, {})
    found = layout.label_path(Path(root, image))
    assert found == Path(root, label)


def test_images_elsewhere_follow_the_rule_as_a_whole(tmp_path):
    layout = YoloLayout(str(tmp_path / 'data.yaml'), ('a',), {0: 0}, {})
    image = Path('/elsewhere/images/train/1.png')
    assert layout.label_path(image) == Path('/elsewhere/labels/train/1.txt')


def test_labels_beside_images_below_a_folder_named_images(tmp_path):
    root = write_set(
        tmp_path / 'images/my set',
        dict(names=NAMES, train='train'),
        {'train/1.png': None, 'train/1.txt': BOX},
    )
    (data,) = load(root)
    assert len(data['instances']) == 1


@pytest.mark.parametrize('way', ['relative', 'link'])
def test_lists_of_absolute_paths_below_a_folder_named_images(
    tmp_path, monkeypatch, way
):
    folder = tmp_path / 'images/my set'
    write_set(
        folder,
        dict(names=NAMES, train='train.txt'),
        {
            'train/1.png': None,
            'train/1.txt': BOX,
            'train.txt': str(folder / 'train/1.png'),
        },
    )
    (tmp_path / 'link').symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    root = dict(relative='images/my set', link=str(tmp_path / 'link'))[way]
    (data,) = load(root)
    assert len(data['instances']) == 1


def test_no_label_at_all_is_an_error_in_training(tmp_path, log_lines):
    root = write_set(
        tmp_path,
        dict(names=NAMES, train='images'),
        {'images/1.png': None, 'images/1.txt': BOX, 'images/2.png': None},
    )
    with pytest.raises(InputError) as error:
        load(root)
    for part in (
        'There is no box to train on.',
        "split 'train': 2 images, 0 boxes.",
        '2 images have no label file',
        str(Path(root, 'labels/1.txt')),
        'beside the image',
    ):
        assert part in str(error.value)
    assert len(load(root, test_mode=True)) == 2
    assert '2 images have no label file' in log_lines[-1]


@pytest.mark.parametrize('nothing', ['', '  ', None, [], ['']])
@pytest.mark.parametrize('key', ['val', 'test'])
def test_an_empty_split_is_an_absent_one(tmp_path, key, nothing):
    files = {'train/images/1.png': None, 'train/labels/1.txt': BOX}
    content = {'names': NAMES, 'train': 'train/images', key: nothing}
    root = write_set(tmp_path / 'a', content, files)
    with pytest.raises(InputError, match=f"split '{key}' are not there"):
        load(root, split=key, test_mode=True)
    assert not read_yolo_yaml(f'{root}/data.yaml').has_split(key)
    folder = dict(val='valid', test='test')[key]
    files[f'{folder}/images/2.png'] = None
    root = write_set(tmp_path / 'b', content, files)
    (data,) = load(root, split=key, test_mode=True)
    assert data['img_path'].endswith('2.png')


@pytest.mark.parametrize(
    'names, chosen',
    [
        (['data.yaml'], 'data.yaml'),
        (['data.yml'], 'data.yml'),
        (['data.yaml', 'data.yml'], 'data.yaml'),
        (['dataset.yaml'], 'dataset.yaml'),
        (['data.yml', 'dataset.yaml'], 'data.yml'),
    ],
)
def test_the_names_of_the_yaml_file(tmp_path, names, chosen):
    (tmp_path / 'train/images').mkdir(parents=True)
    (tmp_path / 'other.yaml').write_text('version: 3\n')
    (tmp_path / 'broken.yaml').write_text('names: [a')
    for name in names:
        (tmp_path / name).write_text('names: [a]\n')
    layout, files = detect_layout(str(tmp_path))
    assert layout == 'yolo' and files == dict(train=chosen, val=chosen)


def test_several_other_yaml_files_are_a_choice(tmp_path):
    for name in ('a.yaml', 'b.yml'):
        (tmp_path / name).write_text('names: [a]\n')
    with pytest.raises(InputError, match=r'a\.yaml and b\.yml.*ann_file='):
        detect_layout(str(tmp_path))
    # Beside annotation files of COCO they are something else.
    for name in ('train.json', 'val.json'):
        (tmp_path / name).write_text('{}')
    layout, _ = detect_layout(str(tmp_path))
    assert layout == 'flat'


@pytest.mark.parametrize(
    'names, lines, labels',
    [
        ({1: 'cat', 3: 'dog'}, '1 {0}\n3 {0}', [0, 1]),  # labelformat, sahi
        ({'3': 'dog', '1': 'cat'}, '3 {0}\n1 {0}', [1, 0]),
        (['cat', 'dog'], '1 {0}\n0 {0}', [1, 0]),
    ],
)
def test_numbers_of_classes_are_those_of_names(tmp_path, names, lines, labels):
    root = write_set(
        tmp_path,
        dict(names=names, nc=2, train='images'),
        {'images/1.png': None, 'labels/1.txt': lines.format('.5 .5 .5 .5')},
    )
    (data,) = load(root)
    assert [i['bbox_label'] for i in data['instances']] == labels
    assert read_yolo_yaml(f'{root}/data.yaml').names == ('cat', 'dog')


@pytest.mark.parametrize(
    'names, number, words',
    [
        (['cat', 'dog'], 3, r'0 \.\.\. 1.*count from 1.*\{3: dog\}'),
        ({1: 'cat', 3: 'dog'}, 2, r'class 2 is none of .*: 1, 3'),
        ({1: 'cat', 3: 'dog'}, 0, 'class 0 is none'),
    ],
)
def test_an_unknown_number_says_how_exporters_count(
    tmp_path, names, number, words
):
    root = write_set(
        tmp_path,
        dict(names=names, train='images'),
        {'images/1.png': None, 'labels/1.txt': f'{number} .5 .5 .5 .5'},
    )
    with pytest.raises(InputError, match=rf'1\.txt, line 1: .*{words}'):
        load(root)


def test_datumaros_lists(tmp_path):
    """yolo_ultralytics: lists of images, a mapping of names, no nc."""
    root = write_set(
        tmp_path,
        dict(names={0: 'cat', 1: 'dog'}, train='train.txt', val='val.txt'),
        {
            'images/train/a.png': None,
            'labels/train/a.txt': BOX,
            'images/val/b.png': None,
            'labels/val/b.txt': '1 .5 .5 .5 .5',
            'train.txt': 'images/train/a.png\n',
            'val.txt': '\ufeffimages/val/b.png\n',
        },
    )
    layout, _ = detect_layout(root)
    assert layout == 'yolo'
    for split, label in (('train', 0), ('val', 1)):
        (data,) = load(root, split=split)
        assert data['instances'][0]['bbox_label'] == label


def test_keypoints_behind_the_box_are_no_outline(tmp_path):
    line = '0 .5 .5 .25 .5 .1 .1 2 .9 .9 2'
    content = dict(names=NAMES, train='images', kpt_shape=[2, 3])
    files = {'images/1.png': None, 'labels/1.txt': line}
    root = write_set(tmp_path, content, files)
    (instance,) = load(root)[0]['instances']
    assert instance['bbox'] == [30, 10, 50, 30] and 'mask' not in instance
    write_set(tmp_path, content, {'labels/1.txt': '0 .5 .5 .2 .2 .1 .1'})
    with pytest.raises(InputError, match='line 1: .* 6 numbers of the keyp'):
        load(root)
    write_set(tmp_path, dict(content, kpt_shape=3), {})
    with pytest.raises(InputError, match='kpt_shape must be'):
        load(root)


@pytest.mark.parametrize('name', ['labels/1.txt', 'list.txt', 'data.yaml'])
def test_text_in_another_encoding_is_named(tmp_path, name):
    root = write_set(
        tmp_path,
        dict(names=NAMES, train='list.txt'),
        {
            'images/1.png': None,
            'labels/1.txt': BOX,
            'list.txt': 'images/1.png',
        },
    )
    (tmp_path / name).write_bytes('0 ü'.encode('utf-16'))
    with pytest.raises(InputError, match=f'{Path(name).name} cannot be read'):
        load(root)


def test_hidden_files_and_folders_are_no_images(tmp_path):
    root = write_set(
        tmp_path,
        dict(names=NAMES, train='images'),
        {
            'images/1.png': None,
            'labels/1.txt': BOX,
            'images/._1.png': 'what macOS writes',
            'images/x.jpg/notes.txt': '',
        },
    )
    assert len(load(root)) == 1


ORIENTED = [
    dict(
        type='LoadImageFromFile',
        color_type='color_ignore_orientation',
        imdecode_backend='pillow',
    )
]


def test_turned_pictures_are_counted_once_per_split(tmp_path, log_lines):
    root = write_set(
        tmp_path,
        dict(names=NAMES, train='images'),
        {'images/0.png': None, 'labels/0.txt': BOX},
    )
    for orientation in (1, 3, 6, 8):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f'images/{orientation}.jpg'
        Image.new('RGB', (80, 40)).save(path, exif=exif)
    data = load(root, pipeline=ORIENTED)
    assert {(d['height'], d['width']) for d in data} == {(40, 80)}
    (line,) = [line for line in log_lines if 'EXIF' in line]
    for part in ("split 'train': 3 of 5 images", '3.jpg (3)', 'transpose'):
        assert part in line
    log_lines.clear()
    load(root, pipeline=[dict(ORIENTED[0], color_type='color')])
    assert not any('EXIF' in line for line in log_lines)
