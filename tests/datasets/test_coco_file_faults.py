"""Annotation files of COCO, broken in every way of a table and by chance."""

import copy
import json
import random

import pytest
from mmdet.registry import DATASETS, METRICS
from PIL import Image

from rfdetr_mm.datasets.coco_file import (
    class_names,
    label_of_category,
    read_coco_file,
)
from rfdetr_mm.datasets.inspection import inspect_data_set
from rfdetr_mm.errors import InputError
from tests.faults import (
    Case,
    Target,
    broken_texts,
    changed_cases,
    draw_change,
    draw_text,
    fuzz,
    run_table,
    size_of_table,
)

VALID = dict(
    info=dict(year=2024),
    images=[
        dict(id=1, file_name='a.png', height=4, width=6),
        dict(id=2, file_name='b.png', height=None, width=None),
    ],
    annotations=[
        dict(
            id=1,
            image_id=1,
            category_id=7,
            bbox=[1, 1, 3, 2],
            area=6,
            iscrowd=0,
            segmentation=[[1, 1, 4, 1, 4, 3, 1, 3]],
        ),
        dict(
            id=2,
            image_id=1,
            category_id=3,
            bbox=[0, 0, 6, 4],
            iscrowd=1,
            segmentation=dict(size=[4, 6], counts=[3, 7, 14]),
        ),
        dict(
            id=3,
            image_id=2,
            category_id=3,
            bbox=[-1.5, 0, 4, 2.5],
            ignore=0,
            segmentation=[[[0, 0], [2, 0], [2, 2]]],
        ),
        dict(
            id=4,
            image_id=2,
            category_id=7,
            bbox=[0, 0, 2, 2],
            segmentation=dict(size=[5, 3], counts='23:'),
        ),
    ],
    categories=[
        dict(id=7, name='disc', supercategory='shape'),
        dict(id=3, name='square'),
    ],
)


# Of other files; each fits some of the broken ones.
CLASSES = (
    *(('disc', 'square'), ('disc',), ('disc', 'square', 'cow')),
    *(('cow',), ('disc', 'disc'), 'disc', ('cow', 'square')),
)


def write_images(folder):
    Image.new('RGB', (6, 4)).save(folder / 'a.png')
    Image.new('RGB', (3, 5)).save(folder / 'b.png')


def run(folder, data):
    """As training, validation and ``rfdetr-mm check`` read it."""
    write_images(folder)
    path = folder / 'boxes.json'
    if data is None:
        path.mkdir()
        read_coco_file(path)
    text = data
    if not isinstance(data, bytes):
        text = json.dumps(data).encode()
    path.write_bytes(text)
    file = read_coco_file(path)
    # Nothing is lost without being counted.
    num_found = len(json.loads(text)['annotations'])
    assert len(file.annotations) + sum(file.left_out.values()) == num_found
    for classes in CLASSES:
        try:
            label_of_category(file, classes)
        except InputError as error:
            assert len(str(error)) > 20
    options = dict(
        type='NamedCocoDataset',
        data_root=str(folder),
        ann_file='boxes.json',
        data_prefix=dict(img=''),
        metainfo=dict(classes=class_names(file)),
        serialize_data=False,
    )
    masks = [dict(type='mmdet.LoadAnnotations', with_mask=True)]
    DATASETS.build(dict(options, test_mode=True))
    DATASETS.build(dict(options, pipeline=masks))
    METRICS.build(
        dict(
            type='NamedCocoMetric',
            ann_file=str(path),
            metric=['bbox', 'segm'],
        )
    )
    inspect_data_set(str(path))


def cases():
    yield Case('valid', '', VALID)
    yield from broken_texts(json.dumps(VALID, indent=1))
    yield from changed_cases(VALID)
    for lost in ('annotations', 'images', 'categories'):
        yield Case('a list of others', lost, dict(VALID, **{lost: [1, None]}))
    twice = copy.deepcopy(VALID)
    twice['categories'][1]['name'] = 'disc'
    yield Case('a name of two classes', '', twice)
    parent = copy.deepcopy(VALID)
    parent['categories'].append(dict(id=9, name='shape'))
    yield Case('a parent class', '', parent)
    same = copy.deepcopy(VALID)
    same['categories'].append(dict(id=9, name='disc'))
    yield Case('an unused class of the same name', '', same)
    yield Case('a folder', '', None)


def draw(rng: random.Random) -> Case:
    if rng.random() < 0.2:
        case = draw_text(json.dumps(VALID, indent=1), rng)
        return Case(case.kind, case.name, case.data.encode())
    return draw_change(VALID, rng)


TARGET = Target(
    'annotation files',
    cases,
    draw,
    run,
    ('is not a JSON file', 'must hold a JSON object'),
    (
        'rfdetr_mm.datasets.bad_entries',
        'rfdetr_mm.datasets.coco_file',
        'rfdetr_mm.datasets.coco_masks',
        'rfdetr_mm.datasets.object_rules',
    ),
)


def test_the_table(tmp_path):
    num_cases, num_kinds = size_of_table(TARGET)
    assert num_cases > 4000 and num_kinds > 40
    tally = run_table(TARGET, tmp_path, 600)
    assert tally.total == 600 and tally.accepted > 50
    print(tally)


@pytest.mark.fuzz
def test_fuzz(tmp_path, fuzz_minutes):
    fuzz(TARGET, tmp_path, fuzz_minutes, seed=0)
