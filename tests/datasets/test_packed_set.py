"""A whole data set in shards: every layout, names, refusals, training."""

import json
from pathlib import Path

import pytest
from mmengine import fileio
from mmengine.config import Config

from rfdetr_mm.datasets import read_coco_file, resolve_own_data
from rfdetr_mm.datasets.packed_set import pack_data_set
from rfdetr_mm.datasets.splits import find_splits
from rfdetr_mm.errors import InputError
from tests.data_factory import LAYOUT_FILES, edit_json, write_layout

SPLITS = ('train', 'val', 'test')


def splits_of(root, layout='auto'):
    return find_splits(layout, str(root), {s: {} for s in SPLITS}, SPLITS)


@pytest.mark.parametrize('layout', [*LAYOUT_FILES, 'yolo'])
def test_every_layout(tmp_path, layout):
    root = write_layout(tmp_path / 'set', layout)
    steps = []
    packed = pack_data_set(
        str(root), str(tmp_path / 'out'), progress=lambda *s: steps.append(s)
    )
    assert [split.num_samples for split in packed] == [3, 3, 3]
    assert steps[-1] == ('test', 3, 3) and ('train', 1, 3) in steps
    found_layout, found = splits_of(tmp_path / 'out')
    assert found_layout == 'webdataset'
    _, expected = splits_of(root)
    for name in SPLITS:
        ours, truth = found[name].file, expected[name].file
        assert ours.annotations == truth.annotations
        assert ours.categories == truth.categories
        for image, before in zip(ours.images, truth.images, strict=True):
            path = root / expected[name].image_folder / before['file_name']
            assert fileio.get(image['file_name']) == path.read_bytes()
            # No path of this machine is packed.
            for file in (tmp_path / 'out').iterdir():
                assert str(tmp_path).encode() not in file.read_bytes()


def test_a_config_is_filled_in(tmp_path):
    root = write_layout(tmp_path / 'set', 'coco')
    pack_data_set(str(root), str(tmp_path / 'out'))
    path = Path(__file__).parents[2] / 'configs/rfdetr/rfdetr_nano_custom.py'
    loose, packed = (Config.fromfile(path) for _ in range(2))
    loose.data_root, packed.data_root = str(root), str(tmp_path / 'out')
    resolve_own_data(loose)
    log = resolve_own_data(packed)
    assert 'layout webdataset' in log and 'shard://' not in log
    dataset = packed.train_dataloader.dataset
    assert dataset.ann_file == 'train-index.json'
    truth = loose.train_dataloader.dataset
    assert dataset.metainfo.classes == truth.metainfo.classes
    assert packed.test_evaluator.ann_file == str(
        tmp_path / 'out' / 'test-index.json'
    )


def test_the_data_set_of_two_splits(tmp_path):
    root = write_layout(tmp_path / 'set', 'flat', ('train', 'val'))
    packed = pack_data_set(str(root), str(tmp_path / 'out'))
    assert [Path(split.path).name for split in packed] == [
        'train-index.json',
        'val-index.json',
    ]


def test_shards_are_not_packed_again(tmp_path):
    root = write_layout(tmp_path / 'set', 'flat')
    pack_data_set(str(root), str(tmp_path / 'a'))
    with pytest.raises(InputError, match='is the index of shards'):
        pack_data_set(str(tmp_path / 'a'), str(tmp_path / 'b'))
    assert not (tmp_path / 'b').exists()


def test_a_missing_image_stops_before_anything_is_written(tmp_path):
    root = write_layout(tmp_path / 'set', 'flat')
    (root / 'images' / 'test 2.png').unlink()
    with pytest.raises(InputError, match=r'1 of 3 image files.*test 2\.png'):
        pack_data_set(str(root), str(tmp_path / 'out'))
    assert not (tmp_path / 'out').exists()


def test_names_outside_the_image_folder(tmp_path):
    root = write_layout(tmp_path / 'set', 'flat')
    (root / 'images' / 'train 1.png').rename(tmp_path / 'far.png')
    (root / 'images' / 'train 2.png').rename(root / 'near.png')

    def edit(content):
        names = [str(tmp_path / 'far.png'), '../near.png']
        for image, name in zip(content['images'], names):
            image['file_name'] = name

    edit_json(root / 'train.json', edit)
    (split, *_) = pack_data_set(str(root), str(tmp_path / 'out'))
    names = [i['file_name'] for i in read_coco_file(split.path).images]
    assert [name.partition('.tar/')[2].split('/', 1)[1] for name in names] == [
        'far.png',
        'near.png',
        'train%203.png',
    ]
    assert json.loads(Path(split.path).read_text())['num_samples'] == 3
