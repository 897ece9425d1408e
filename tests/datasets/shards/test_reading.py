"""Shards as they are read: equal to loose files, and to rfdetr's."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine import fileio

from rfdetr_mm.datasets import NamedCocoDataset, WebDatasetCoco, read_coco_file
from rfdetr_mm.datasets.shards import pack_split
from rfdetr_mm.errors import InputError
from tests.data_factory import write_coco

SIZES = [(60, 90), (90, 60), (50, 50), (40, 70)]
PIPELINE = [
    dict(
        type='LoadImageFromFile',
        imdecode_backend='pillow',
        color_type='color_ignore_orientation',
    ),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs'),
]


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp('set') / 'a', SIZES, (1,))


def pack_ours(source, out):
    file = read_coco_file(source / 'annotations.json')
    names = [image['file_name'] for image in file.images]
    paths = [str(source / 'images' / name) for name in names]
    return pack_split(file, paths, names, str(out), 'train', 20_000).path


def pack_by_rfdetr(source, out):
    packing = pytest.importorskip('rfdetr.datasets.webdataset.pack')
    packing.pack_coco_to_shards(
        source / 'images',
        source / 'annotations.json',
        out,
        max_shard_bytes=20_000,
    )
    return str(out / 'train-index.json')


@pytest.fixture(scope='module', params=[pack_ours, pack_by_rfdetr])
def shards(request, source, tmp_path_factory):
    return Path(request.param(source, tmp_path_factory.mktemp('shards') / 'b'))


def loose(source, **options):
    return NamedCocoDataset(
        data_root=str(source),
        ann_file='annotations.json',
        data_prefix=dict(img='images'),
        metainfo=dict(classes=('square', 'disc')),
        pipeline=PIPELINE,
        **options,
    )


def packed(shards, **options):
    return WebDatasetCoco(
        data_root=str(shards.parent),
        ann_file=shards.name,
        metainfo=dict(classes=('square', 'disc')),
        pipeline=PIPELINE,
        **options,
    )


@pytest.mark.parametrize('test_mode', [False, True])
def test_samples_equal_those_of_loose_files(source, shards, test_mode):
    ours = packed(shards, test_mode=test_mode)
    truth = loose(source, test_mode=test_mode)
    assert len(ours) == len(truth) == len(SIZES)
    for sample, expected in zip(ours, truth):
        assert sample['inputs'].equal(expected['inputs'])
        found, wanted = (s['data_samples'] for s in (sample, expected))
        assert found.gt_instances.bboxes.tensor.equal(
            wanted.gt_instances.bboxes.tensor
        )
        assert found.gt_instances.labels.equal(wanted.gt_instances.labels)
        for key in ('img_id', 'ori_shape', 'img_shape'):
            assert found.metainfo[key] == wanted.metainfo[key]
        # Results are named by the last part of the path.
        assert Path(found.img_path).name == Path(wanted.img_path).name
    assert any(len(s['data_samples'].gt_instances) == 0 for s in ours)


def test_the_annotations_are_those_of_the_file(source, shards):
    file = read_coco_file(shards)
    truth = read_coco_file(source / 'annotations.json')
    assert file.annotations == truth.annotations
    assert file.categories == truth.categories
    for image, expected in zip(file.images, truth.images):
        data = (source / 'images' / expected['file_name']).read_bytes()
        assert fileio.get(image['file_name']) == data
        assert {**image, 'file_name': ''} == {**expected, 'file_name': ''}


def test_rfdetr_reads_our_index(source, tmp_path):
    index = pytest.importorskip('rfdetr.datasets.webdataset.index')
    path = Path(pack_ours(source, tmp_path))
    found = index.read_shard_index(tmp_path, 'train')
    ours = json.loads(path.read_text())
    assert found.shards == tuple(ours['shards'])
    assert found.num_samples == len(SIZES)
    assert found.class_names() == ['square', 'disc']
    assert found.annotated_category_ids == (3, 7)


def cut(path):
    path.write_bytes(path.read_bytes()[:-512])


def flip(path):
    data = bytearray(path.read_bytes())
    data[600] ^= 1  # of the first image
    path.write_bytes(data)


def flip_text(path):
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"image_id": 1,', b'"image_id": 9,'))


def other_dtype(path):
    np.save(path, np.zeros(4, np.float32))


def shorter(path):
    np.save(path, np.load(path)[1:])


def edit(**values):
    def change(path):
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


FAULTS = {
    'version': ('*.json', edit(version=2), ['version 2', 'version 1']),
    'no version': ('*.json', edit(version=None), ['version None']),
    'no shards': ('*.json', edit(shards=[]), ['shards must be a list']),
    'outside': ('*.json', edit(shards=['../a.tar']), ["'../a.tar'"]),
    'places': ('*.json', edit(places='a/b'), ["'a/b'"]),
    'categories': ('*.json', edit(categories=None), ['categories must']),
    'samples': ('*.json', edit(num_samples=5), ['has 5 samples']),
    'negative': ('*.json', edit(num_samples=-1), ['num_samples must', '-1']),
    'counts': ('*.json', edit(samples_per_shard=[1]), ['one number for each']),
    'no tar': ('*-000000.tar', Path.unlink, ['There is no shard']),
    'cut tar': ('*-000000.tar', cut, ['changed after', 'its index says']),
    'text': ('*-000000.tar', flip_text, ['changed after', 'the text at']),
    'no places': ('*.npy', Path.unlink, ['places.npy', 'cannot be read']),
    'no array': ('*.npy', lambda p: p.write_bytes(b'x'), ['cannot be read']),
    'other array': ('*.npy', other_dtype, ['pack the data set again']),
    'short array': ('*.npy', shorter, ['has (3,) entries', '4 samples']),
}


@pytest.mark.parametrize('name', list(FAULTS))
def test_damaged_shards_are_one_error(source, tmp_path, name):
    pattern, damage, words = FAULTS[name]
    index = Path(pack_ours(source, tmp_path / 'a'))
    (file,) = (tmp_path / 'a').glob(pattern)
    damage(file)
    with pytest.raises(InputError) as caught:
        packed(index)
    assert all(word in str(caught.value) for word in words), caught.value
    assert '\n' not in str(caught.value)


def test_a_changed_image_is_never_skipped(source, tmp_path):
    index = Path(pack_ours(source, tmp_path / 'a'))
    flip(next((tmp_path / 'a').glob('*-000000.tar')))
    skipping = [dict(PIPELINE[0], type='LoadCheckedImage'), *PIPELINE[1:]]
    skipping[0]['skip_unreadable'] = True
    dataset = NamedCocoDataset(
        ann_file=str(index),
        data_prefix=dict(img=''),
        metainfo=dict(classes=('square', 'disc')),
        pipeline=skipping,
    )
    assert dataset[1] is not None
    words = r'changed after it was packed.*1\.png'
    with pytest.raises(InputError, match=words):
        dataset[0]


@pytest.mark.parametrize(
    'address', ['shard://a.tar', 'shard://a.tar/1-2/x.png', 'shard:///b']
)
def test_what_is_no_address(address):
    with pytest.raises(InputError, match='cannot be the address'):
        fileio.get(address)


def test_names_with_signs_that_addresses_use(source, tmp_path):
    copy = tmp_path / 'a b://%c.tar'
    shutil.copytree(source, copy)
    odd = 'x/1 :// %20.tar/0-1-unknown/é.png'
    path = copy / 'images' / odd
    path.parent.mkdir(parents=True)
    (copy / 'images' / '1.png').rename(path)
    content = json.loads((copy / 'annotations.json').read_text())
    content['images'][0]['file_name'] = odd
    (copy / 'annotations.json').write_text(json.dumps(content))
    index = Path(pack_ours(copy, copy / 'shards'))
    assert fileio.get(read_coco_file(index).images[0]['file_name']) == (
        path.read_bytes()
    )


def test_a_class_for_indexes_alone(source):
    with pytest.raises(InputError, match='must be the index of a split'):
        WebDatasetCoco(ann_file=str(source / 'annotations.json'))
