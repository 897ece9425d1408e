import copy
import json

import pytest

from rfdetr_mm.datasets import (
    CocoFile,
    class_names,
    label_of_category,
    read_coco_file,
)
from rfdetr_mm.datasets.coco_file import visible_box

CONTENT = dict(
    images=[
        dict(id=1, file_name='a.png', height=40, width=60),
        dict(id=2, file_name='b.png', height=50, width=30),
    ],
    annotations=[
        dict(id=1, image_id=1, category_id=7, bbox=[1, 2, 10, 20]),
        dict(id=2, image_id=2, category_id=3, bbox=[5, 5, 8.5, 4]),
        dict(id=3, image_id=2, category_id=3, bbox=[0, 0, 3, 3]),
    ],
    categories=[dict(id=7, name='disc'), dict(id=3, name='square')],
)
REMOVED = object()


def write(folder, content) -> str:
    path = folder / 'boxes.json'
    path.write_text(json.dumps(content))
    return str(path)


def changed(place: str, value) -> dict:
    """CONTENT with another value at a place like 'images.0.height'."""
    content = copy.deepcopy(CONTENT)
    *parents, last = (int(k) if k.isdigit() else k for k in place.split('.'))
    node = content
    for key in parents:
        node = node[key]
    if value is REMOVED:
        del node[last]
    else:
        node[last] = value
    return content


def in_memory(categories, used=()) -> CocoFile:
    """(id, name[, supercategory]) triples, a box for each used id."""
    keys = ('id', 'name', 'supercategory')
    return CocoFile(
        'some.json',
        (dict(id=1, file_name='a.png', height=4, width=6),),
        tuple(
            dict(id=n, image_id=1, category_id=i, bbox=[0, 0, 1, 1])
            for n, i in enumerate(used)
        ),
        tuple(dict(zip(keys, category)) for category in categories),
    )


def test_a_good_file_is_read_and_completed(tmp_path):
    content = changed('annotations.0.area', 150)
    content['annotations'][2].update(area=None, iscrowd=1)
    path = write(tmp_path, content)
    file = read_coco_file(path)
    assert file.path == path and len(file.images) == 2
    assert [a['area'] for a in file.annotations] == [150, 34, 9]
    assert [a['iscrowd'] for a in file.annotations] == [0, 0, 1]
    assert file.annotated_category_ids() == {3, 7}


def test_ids_as_text_are_ints(tmp_path):
    content = copy.deepcopy(CONTENT)
    content['images'][0]['id'] = '1'
    content['categories'][0]['id'] = '7'
    content['annotations'][0].update(id='1', image_id='01', category_id=7.0)
    content['images'][1]['width'] = 30.0
    file = read_coco_file(write(tmp_path, content))
    plain = read_coco_file(write(tmp_path, CONTENT))
    assert file == plain
    values = [v for a in file.annotations for v in a.values()]
    assert not [v for v in values if isinstance(v, str)]


def test_a_byte_order_mark_is_no_problem(tmp_path):
    (tmp_path / 'a.json').write_text(json.dumps(CONTENT), 'utf-8-sig')
    assert len(read_coco_file(tmp_path / 'a.json').images) == 2


@pytest.mark.parametrize(
    'text, message',
    [
        ('{"images": [1,]}', r'is not a JSON file.*line 1 column 15'),
        ('', 'is not a JSON file'),
        (b'\xff\xfe\x00\xd8\x00', 'is not a JSON file'),
        ('[1]', 'JSON object with the lists images, .* but holds a list'),
    ],
)
def test_what_is_no_json_object_is_an_error(tmp_path, text, message):
    path = tmp_path / 'boxes.json'
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=f'boxes.json.*{message}'):
        read_coco_file(str(path))


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
    with pytest.raises(ValueError, match='no annotation file .*nowhere.json'):
        read_coco_file(str(tmp_path / 'nowhere.json'))
    with pytest.raises(ValueError, match='cannot be read'):
        read_coco_file(str(tmp_path))


WHOLE = 'must be a whole number'
TEXT = 'must be a text'
FOUR = 'must be four finite numbers'
BAD = [
    ('images', REMOVED, 'images must be a list, but is missing'),
    ('annotations', None, 'annotations must be a list, but is None'),
    ('categories', {}, 'categories must be a list, but is {}'),
    ('images', [], 'images is empty'),
    ('categories', [], 'categories is empty'),
    ('images.1', 3, r'images\[1\] must be an object, but is 3'),
    ('images.1.id', REMOVED, rf'images\[1\].id {WHOLE}, but is missing'),
    ('images.1.id', 'b', rf"images\[1\].id {WHOLE}, but is 'b'"),
    ('images.1.id', True, rf'images\[1\].id {WHOLE}, but is True'),
    ('images.1.id', 1.5, rf'images\[1\].id {WHOLE}, but is 1.5'),
    ('images.1.id', 1, r'images\[0\] and images\[1\] have the same id 1'),
    ('images.1.id', '1', r'images\[0\] and images\[1\] have the same id 1'),
    ('images.0.file_name', REMOVED, rf'images\[0\].file_name {TEXT}'),
    ('images.0.file_name', '', rf'images\[0\].file_name {TEXT}'),
    ('images.0.height', REMOVED, rf'images\[0\].height {WHOLE} in pixels'),
    ('images.0.height', None, rf'images\[0\].height {WHOLE} in pixels'),
    ('images.0.height', 0, r'images\[0\].height must be positive, but is 0'),
    ('images.0.width', -60, r'images\[0\].width must be positive'),
    ('images.0.width', None, rf'images\[0\].width {WHOLE}'),
    ('categories.1.id', REMOVED, rf'categories\[1\].id {WHOLE}'),
    ('categories.1.id', 7, r'categories\[1\] have the same id 7'),
    ('categories.0.name', REMOVED, rf'categories\[0\].name {TEXT}'),
    ('categories.0.name', 5, rf'categories\[0\].name {TEXT}, but is 5'),
    ('categories.1.name', 'disc', "ids 7 and 3 are both named 'disc'"),
    ('annotations.2', [], r'annotations\[2\] must be an object'),
    ('annotations.2.id', REMOVED, rf'annotations\[2\].id {WHOLE}'),
    ('annotations.2.id', 1, r'annotations\[0\] and annotations\[2\] .* id 1'),
    ('annotations.2.image_id', REMOVED, rf'\[2\].image_id {WHOLE}'),
    ('annotations.2.category_id', REMOVED, rf'\[2\].category_id {WHOLE}'),
    ('annotations.2.category_id', 9, r'of a category \(3, 7\), but is 9'),
    ('annotations.2.bbox', REMOVED, rf'\[2\].bbox {FOUR}.*is missing'),
    ('annotations.2.bbox', [1, 2, 3], rf'\[2\].bbox {FOUR}'),
    ('annotations.2.bbox', '1234', rf'\[2\].bbox {FOUR}'),
    ('annotations.2.bbox', [1, 2, '3', 4], rf'\[2\].bbox {FOUR}'),
    ('annotations.2.bbox', [1, 2, float('nan'), 4], rf'\[2\].bbox {FOUR}'),
    ('annotations.2.bbox', [float('inf'), 2, 3, 4], rf'\[2\].bbox {FOUR}'),
    ('annotations.2.area', '9', r'\[2\].area must be a finite number'),
    ('annotations.2.iscrowd', '0', r"\[2\].iscrowd must be 0 or 1, .*'0'"),
    ('annotations.2.iscrowd', 2, r'\[2\].iscrowd must be 0 or 1'),
]


@pytest.mark.parametrize('place, value, message', BAD)
def test_a_wrong_field_is_named(tmp_path, place, value, message):
    path = write(tmp_path, changed(place, value))
    with pytest.raises(ValueError, match=f'boxes.json.*{message}') as error:
        read_coco_file(path)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('flag', [True, False])
def test_labelformats_annotations_are_completed(tmp_path, flag):
    """Without id and area; the flag of crowds as JSON's true and false."""
    content = copy.deepcopy(CONTENT)
    for annotation in content['annotations']:
        del annotation['id']
        annotation['iscrowd'] = flag
    content['annotations'][1]['segmentation'] = [[5, 5, 9, 5, 9, 8]]
    file = read_coco_file(write(tmp_path, content))
    assert [a['id'] for a in file.annotations] == [1, 2, 3]
    assert [a['area'] for a in file.annotations] == [200, 6, 9]
    flags = {a['iscrowd'] for a in file.annotations}
    assert flags == {int(flag)} and type(flags.pop()) is int


@pytest.mark.parametrize('change', [{}, dict(bbox=[9, 9, 2, 2])])
def test_a_repeated_annotation_names_id_and_places(tmp_path, change):
    """As pylabel writes it."""
    content = copy.deepcopy(CONTENT)
    content['annotations'].append({**content['annotations'][1], **change})
    with pytest.raises(ValueError) as error:
        read_coco_file(write(tmp_path, content))
    for part in (
        'annotations[1] and annotations[3] have the same id 2',
        'another id: they are different' if change else 'they are equal',
    ):
        assert part in str(error.value)


def test_sizes_may_be_unknown(tmp_path):
    content = copy.deepcopy(CONTENT)
    content['images'][0].update(height=None, width=None)
    del content['images'][1]['height'], content['images'][1]['width']
    file = read_coco_file(write(tmp_path, content))
    assert {i[k] for i in file.images for k in ('height', 'width')} == {None}
    # What the borders cut off is not known.
    assert visible_box([-2, 3, 500, 4], file.images[0]) == (0, 3, 498, 7)


def test_annotations_of_unknown_images_are_counted(tmp_path, log_lines):
    content = changed('annotations.1.image_id', 99)
    file = read_coco_file(write(tmp_path, content))
    assert [a['id'] for a in file.annotations] == [1, 3]
    (line,) = log_lines
    assert 'boxes.json: 1 of 3 annotations' in line


def test_an_unused_category_may_repeat_a_name(tmp_path):
    content = changed('categories.0.name', 'square')
    content['annotations'].pop(0)
    file = read_coco_file(write(tmp_path, content))
    assert class_names(file) == ('square',)
    assert label_of_category(file, ['square']) == {3: 0}


ROOT = (0, 'cells', 'none')


@pytest.mark.parametrize(
    'categories, used, expected',
    [
        ([(7, 'disc'), (3, 'square')], (3, 7), 'square disc'),
        # Roboflow's root, without and with boxes.
        ([ROOT, (1, 'a', 'cells'), (2, 'b', 'cells')], (1,), 'a b'),
        ([ROOT, (1, 'a', 'cells'), (2, 'b', 'cells')], (0, 1), 'cells a b'),
        # COCO: a supercategory that is no category.
        ([(1, 'cat', 'animal'), (2, 'dog', 'animal')], (1,), 'cat dog'),
        # Its own parent, and a placeholder that is also a name.
        ([(1, 'person', 'person'), (2, 'car', 'vehicle')], (), 'person car'),
        ([(1, 'none', 'x'), (2, 'car', 'none')], (2,), 'none car'),
        # Everything is a parent: nothing is dropped.
        ([(1, 'a', 'b'), (2, 'b', 'a')], (), 'a b'),
        # A root that is named like a class below it.
        ([(0, 'a', 'none'), (1, 'a', 'a'), (2, 'b', 'a')], (1, 2), 'a b'),
        # A repeated name is one class, where its boxes are.
        ([(1, 'a'), (2, 'b'), (3, 'a')], (2, 3), 'b a'),
        ([(3, 'a'), (2, 'b'), (1, 'a')], (), 'a b'),
        ([(1, 'a', None), (2, 'b', ['a'])], (1,), 'a b'),
    ],
)
def test_class_names(categories, used, expected):
    assert class_names(in_memory(categories, used)) == tuple(expected.split())


THREE = [(5, 'c'), (9, 'a'), (1, 'b')]


@pytest.mark.parametrize(
    'classes, used, expected',
    [
        ('abc', (1, 5, 9), {9: 0, 1: 1, 5: 2}),
        ('cab', (1, 5, 9), {5: 0, 9: 1, 1: 2}),
        ('abcd', (1, 5, 9), {9: 0, 1: 1, 5: 2}),
        ('xca', (5,), {5: 1, 9: 2}),
        ('b', (1, 5, 5), {1: 0}),
    ],
)
def test_labels_go_by_name(classes, used, expected):
    labels = label_of_category(in_memory(THREE, used), list(classes))
    assert labels == expected


def test_what_is_not_matched_is_logged_once(log_lines):
    file = in_memory(THREE, (1, 5, 5))
    label_of_category(file, ['a', 'b', 'c', 'd', 'e'])
    assert 'some.json has no category for 2 of 5 classes: d, e.' in (
        log_lines.pop()
    )
    label_of_category(file, ['b'])
    assert 'some.json: 2 boxes are left out' in log_lines[0]
    assert 'no classes: c (2).' in log_lines.pop()
    label_of_category(file, ['c', 'b'])
    assert not log_lines  # category a has no boxes


@pytest.mark.parametrize(
    'classes, used, parts',
    [
        ('ab', (1, 9), ["'ab'", 'comma', "('ab',)"]),
        (['a', 'b', 'a'], (1,), ['names a more than once']),
        (['x', 'y'], (1,), ['none of the classes', 'x, y', 'b, c, a']),
        ([], (1,), ['none of the classes']),
        (
            ['a', 'B', 'c'],
            (1, 1, 5, 9),
            ["no category for 1 of the classes, 'B'", "'b'", 'b (2)'],
        ),
    ],
)
def test_classes_that_do_not_fit_are_an_error(classes, used, parts):
    with pytest.raises(ValueError) as error:
        label_of_category(in_memory(THREE, used), classes)
    for part in parts:
        assert part in str(error.value)


def test_the_closest_name_is_shown():
    categories = [(1, 'red cel'), (2, 'platelets'), (3, 'white cell')]
    file = in_memory(categories, (1, 2, 3, 3))
    with pytest.raises(ValueError) as error:
        label_of_category(file, ['red cell', 'white cell'])
    assert "'red cell' (closest in the file: 'red cel')" in str(error.value)
    assert 'red cel (1), platelets (1)' in str(error.value)
    # The way out that the message names.
    labels = label_of_category(
        in_memory([*categories, (4, 'red cell')], (1, 2, 3)),
        ['red cell', 'white cell'],
    )
    assert labels == {4: 0, 3: 1}


@pytest.mark.parametrize(
    'bbox, expected',
    [
        ([1, 2, 10, 20], (1, 2, 11, 22)),
        ([50, 30, 20, 20], (50, 30, 60, 40)),
        ([-5, -6, 7, 8], (0, 0, 2, 2)),
        ([-5, -6, 100, 100], (0, 0, 60, 40)),
        ([3, 3, 0.25, 0.25], (3, 3, 3.25, 3.25)),
        ([1, 2, 0, 5], None),
        ([1, 2, 5, -1], None),
        ([60, 2, 5, 5], None),
        ([2, 40, 5, 5], None),
        ([-5, 2, 5, 5], None),
        ([45, 10, 1, 1], (45, 10, 46, 11)),
        ([10, 45, 1, 1], None),  # H and W in the right places
    ],
)
def test_visible_box(bbox, expected):
    assert visible_box(bbox, dict(height=40, width=60)) == expected
