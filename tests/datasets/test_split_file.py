"""The splits of one file: properties, what is written, what is refused."""

import json
import os
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rfdetr_mm.datasets import split_file as module
from rfdetr_mm.datasets.inspection import inspect_data_set
from rfdetr_mm.datasets.split_file import split_file
from rfdetr_mm.errors import InputError
from tests.data_factory import edit_json, write_coco

SHARES = (0.6, 0.2, 0.2)
FILES = {
    'train': 'train/_annotations.coco.json',
    'val': 'valid/_annotations.coco.json',
    'test': 'test/_annotations.coco.json',
}


def write(root, patients, labels):
    """Images of patients, each with objects of the labels; tiny files."""
    (root / 'images').mkdir()
    images, annotations = [], []
    for number, (patient, found) in enumerate(zip(patients, labels), start=1):
        name = f'patient{patient}_{number}.png'
        Image.new('RGB', (3, 2)).save(root / 'images' / name)
        images.append(dict(id=number, file_name=name, height=2, width=3))
        for label in found:
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=label,
                    bbox=[0, 0, 2, 1],
                )
            )
    content = dict(
        info=dict(year=2024),
        images=images,
        annotations=annotations,
        categories=[dict(id=i, name=f'class {i}') for i in range(4)],
    )
    (root / 'all.json').write_text(json.dumps(content))
    return str(root / 'all.json')


def read(folder):
    return {
        split: json.loads((Path(folder) / name).read_text())
        for split, name in FILES.items()
        if (Path(folder) / name).exists()
    }


@settings(derandomize=True, max_examples=12, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 9),
            st.lists(st.integers(0, 3), min_size=1, max_size=4),
        ),
        min_size=12,
        max_size=30,
    ),
    st.integers(0, 99),
)
def test_partition_determinism_and_groups(drawn, seed):
    patients, labels = zip(*drawn)
    patients = [*patients, 0, 1, 2]  # enough groups for three parts
    labels = [*labels, [0], [1], [2]]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        path = write(root, patients, labels)
        for name in ('a', 'b'):
            split_file(path, str(root / name), SHARES, seed, r'patient(\d+)_')
        parts = read(root / 'a')
        assert parts == read(root / 'b')
        whole = json.loads(Path(path).read_text())
        for key in ('images', 'annotations'):
            ids = [x['id'] for part in parts.values() for x in part[key]]
            assert sorted(ids) == [x['id'] for x in whole[key]]
        split_of = {}
        for split, content in parts.items():
            assert content['annotations']
            image_ids = {image['id'] for image in content['images']}
            assert all(
                a['image_id'] in image_ids for a in content['annotations']
            )
            for image in content['images']:
                patient = image['file_name'].partition('_')[0]
                assert split_of.setdefault(patient, split) == split


@pytest.fixture
def path(tmp_path):
    root = write_coco(tmp_path / 'set', [(30, 40)] * 12, empty=(3, 7))
    return str(root / 'annotations.json')


def test_what_is_written_is_a_data_set(path, tmp_path):
    out = tmp_path / 'new' / 'out'
    result = split_file(path, str(out), SHARES)
    found = inspect_data_set(str(out))
    assert found.layout == 'roboflow'
    assert [c.images for c in found.objects.values()] == list(result.images)
    serious = [f for f in found.findings if f.level == 'error']
    assert serious == []
    boxes = [c.per_class['disc'] for c in found.objects.values()]
    assert tuple(boxes) == result.boxes['disc']
    assert sorted(os.listdir(out)) == ['test', 'train', 'valid']
    assert os.listdir(out.parent) == ['out']
    lines = '\n'.join(result.lines())
    assert 'train' in lines and 'disc' in lines


def test_other_fields_are_kept(path, tmp_path):
    edit_json(
        Path(path),
        lambda c: (
            c.update(licenses=[dict(id=4)]),
            c['annotations'][0].update(note='x'),
        ),
    )
    split_file(path, str(tmp_path / 'out'), (0.5, 0.5))
    parts = read(tmp_path / 'out')
    assert list(parts) == ['train', 'val']
    assert all(part['licenses'] == [dict(id=4)] for part in parts.values())
    notes = [
        a for p in parts.values() for a in p['annotations'] if 'note' in a
    ]
    assert len(notes) == 1


@pytest.mark.parametrize('copy, links', [(False, 2), (True, 1)])
def test_links_and_copies(path, tmp_path, copy, links):
    split_file(path, str(tmp_path / 'out'), (0.5, 0.5), copy=copy)
    files = [*(tmp_path / 'out').rglob('*.png')]
    assert len(files) == 12
    assert {file.stat().st_nlink for file in files} == {links}


def test_where_links_are_not_possible(path, tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError('another disk')

    monkeypatch.setattr(module.os, 'link', refuse)
    split_file(path, str(tmp_path / 'out'), (0.5, 0.5))
    assert len([*(tmp_path / 'out').rglob('*.png')]) == 12


def test_names_with_folders_and_absolute_names(path, tmp_path):
    root = Path(path).parent
    (root / 'images' / 'a').mkdir()
    (root / 'images' / '1.png').rename(root / 'images' / 'a' / '1.png')

    def change(content):
        content['images'][0]['file_name'] = 'a/1.png'
        content['images'][1]['file_name'] = str(root / 'images' / '2.png')

    edit_json(Path(path), change)
    split_file(path, str(tmp_path / 'out'), (0.5, 0.5))
    names = {
        image['file_name']
        for part in read(tmp_path / 'out').values()
        for image in part['images']
    }
    assert {'a/1.png', '2.png'} <= names


def test_names_that_would_be_the_same(path, tmp_path):
    root = Path(path).parent
    (root / '3.png').write_bytes((root / 'images' / '2.png').read_bytes())
    edit_json(
        Path(path),
        lambda c: c['images'][1].update(file_name='../3.png'),
    )
    with pytest.raises(InputError, match='would both be 3.png'):
        for seed in range(20):  # some put both into one part
            split_file(path, str(tmp_path / f'out{seed}'), (0.5, 0.5), seed)


def test_groups_of_a_file(path, tmp_path):
    groups = tmp_path / 'groups.csv'
    groups.write_text(
        ''.join(f'{n}.png,g{n % 5}\n' for n in range(1, 13) if n != 7)
    )
    result = split_file(
        path, str(tmp_path / 'out'), (0.5, 0.5), group_by=str(groups)
    )
    assert result.num_groups == 6 and result.unmatched == 1
    assert any('1 file names do not match' in line for line in result.lines())
    for part in read(tmp_path / 'out').values():
        numbers = [
            int(i['file_name'].partition('.')[0]) for i in part['images']
        ]
        for number in numbers:
            same = {n for n in range(1, 13) if n % 5 == number % 5} - {7}
            assert number == 7 or same <= {*numbers}


BAD = [
    (dict(shares=(0.5, 0.4)), 'sum is 1'),
    (dict(shares=(0.4, 0.2, 0.2, 0.2)), 'at most 3 parts.*4 shares'),
    (dict(group_by='('), 'neither a file nor a regular expression'),
    (dict(group_by='dog'), 'gives no image a group'),
    (dict(group_by='png'), '2 parts need .* there are 1'),
    (dict(image_folder='nowhere'), 'were not found'),
    (dict(path='nowhere.json'), 'There is no annotation file'),
    (dict(folder='full'), 'full is not empty'),
    (dict(folder='file'), 'file is not a folder'),
]


@pytest.mark.parametrize('options, message', BAD, ids=[b[1] for b in BAD])
def test_refused_and_nothing_written(path, tmp_path, options, message):
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'x').touch()
    (tmp_path / 'file').touch()
    before = sorted(tmp_path.rglob('*'))
    given = dict(path=path, folder='out', shares=(0.5, 0.5))
    given |= options
    given['folder'] = str(tmp_path / given['folder'])
    with pytest.raises(InputError, match=message):
        split_file(**given)
    assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.parametrize(
    'text, message',
    [
        ('1.png\n', 'line 1: expected file_name,group, got 1 columns'),
        ('1.png,a\n1.png,b\n', "line 2: 1.png is in the groups 'a' and 'b'"),
        ('x.png,a\n', 'gives no image a group'),
    ],
)
def test_bad_groups(path, tmp_path, text, message):
    (tmp_path / 'g.csv').write_text(text)
    with pytest.raises(InputError, match=message):
        split_file(
            *(path, str(tmp_path / 'out'), (0.5, 0.5)),
            group_by=str(tmp_path / 'g.csv'),
        )


def test_a_missing_image(path, tmp_path):
    (Path(path).parent / 'images' / '9.png').unlink()
    with pytest.raises(InputError, match='1 of 12 image files .*9.png'):
        split_file(path, str(tmp_path / 'out'), (0.5, 0.5))


def test_a_failure_leaves_nothing(path, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(module, '_link_or_copy', fail)
    before = sorted(tmp_path.rglob('*'))
    with pytest.raises(OSError, match='No space'):
        split_file(path, str(tmp_path / 'out'), (0.5, 0.5))
    assert sorted(tmp_path.rglob('*')) == before


def test_into_an_empty_folder(path, tmp_path):
    (tmp_path / 'out').mkdir()
    split_file(path, str(tmp_path / 'out'), (0.5, 0.5))
    assert Counter(os.listdir(tmp_path)) == Counter(['out', 'set'])
