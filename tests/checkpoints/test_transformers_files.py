"""Files of transformers, without transformers."""

import json

import pytest
import torch

from rfdetr_mm.checkpoints import (
    COCO_CATEGORY_IDS,
    COCO_CLASSES,
    read_checkpoint,
    read_safetensors,
    to_mmdet_checkpoint,
    to_transformers,
    write_safetensors,
)
from rfdetr_mm.errors import InputError
from tests.checkpoint_factory import upstream_state_dict

CLASS_WEIGHT = 'bbox_head.cls_branch.weight'


def save(folder, num_rows, **config):
    """A folder as transformers writes it, under rfdetr's names."""
    weights = upstream_state_dict(num_rows=num_rows)
    weights = {k: v for k, v in weights.items() if v.numel()}
    write_safetensors(weights, folder / 'model.safetensors')
    config = dict(dict(model_type='rf_detr'), **config)
    (folder / 'config.json').write_text(json.dumps(config))
    return weights


def labels(names):
    return {str(i): name for i, name in enumerate(names)}


@pytest.mark.parametrize(
    'names', [('cell',), ('cell', 'ring'), tuple('abc'), tuple('abcdefg')]
)
def test_every_row_is_a_class(tmp_path, names):
    """The last one too, which in rfdetr's files is spare."""
    weights = save(tmp_path, len(names), id2label=labels(names))
    for source in (tmp_path, tmp_path / 'model.safetensors'):
        checkpoint, report = to_mmdet_checkpoint(read_checkpoint(source))
        assert report.class_names == names
        found = checkpoint['state_dict'][CLASS_WEIGHT]
        assert torch.equal(found, weights['class_embed.weight'])


def test_two_classes_without_names(tmp_path):
    """transformers leaves out its default, two classes."""
    save(tmp_path, 2)
    _, report = to_mmdet_checkpoint(read_checkpoint(tmp_path))
    assert report.class_names == ('class_0', 'class_1')


@pytest.mark.parametrize('named', [False, True])
def test_rows_of_cocos_ids(tmp_path, named):
    names = [f'LABEL_{i}' for i in range(91)]
    if named:
        names = ['N/A'] * 91
        for i, name in zip(COCO_CATEGORY_IDS, COCO_CLASSES):
            names[i] = name
    weights = save(tmp_path, 91, id2label=labels(names))
    checkpoint, report = to_mmdet_checkpoint(read_checkpoint(tmp_path))
    assert report.class_names == COCO_CLASSES
    expected = weights['class_embed.weight'][list(COCO_CATEGORY_IDS)]
    assert torch.equal(checkpoint['state_dict'][CLASS_WEIGHT], expected)


def test_91_other_classes(tmp_path):
    names = tuple(f'kind {i}' for i in range(91))
    save(tmp_path, 91, id2label=labels(names))
    _, report = to_mmdet_checkpoint(read_checkpoint(tmp_path))
    assert report.class_names == names


@pytest.mark.parametrize(
    'id2label, message',
    [
        (None, 'id2label .* must name the rows 0 to 2; it has None'),
        ({'0': 'a', '1': 'b'}, 'There are 3 class rows.* it has 2'),
        ({'0': 'a', '1': 'b', '3': 'c'}, 'rows 0 to 2'),
        (['a', 'b', 'c'], 'rows 0 to 2'),
    ],
)
def test_names_that_do_not_fit(tmp_path, id2label, message):
    save(tmp_path, 3, id2label=id2label)
    with pytest.raises(InputError, match=message):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize('text', ['{', '[1]'])
def test_broken_config(tmp_path, text):
    save(tmp_path, 3)
    (tmp_path / 'config.json').write_text(text)
    with pytest.raises(InputError, match='config.json'):
        read_checkpoint(tmp_path)


def test_other_models_are_left_alone(tmp_path):
    weights = save(tmp_path, 3, model_type='bert')
    content = read_checkpoint(tmp_path)
    assert content.keys() == weights.keys()


def test_transformers_names_need_the_config(tmp_path):
    path = tmp_path / 'a.safetensors'
    weights = {'model.reference_point_embed.weight': torch.zeros(2, 4)}
    write_safetensors(weights, path)
    with pytest.raises(InputError, match='no config.json of an'):
        read_checkpoint(path)


def test_rows_that_are_written():
    model = {
        'class_embed.bias': torch.arange(91.0),
        'transformer.enc_out_class_embed.0.bias': torch.arange(91.0),
        'other': torch.arange(91.0),
        'empty': torch.zeros(0, 0),
    }
    written = to_transformers(model, COCO_CLASSES)
    assert written.keys() == model.keys() - {'empty'}
    for key in list(model)[:2]:
        assert tuple(written[key].tolist()) == COCO_CATEGORY_IDS
    assert len(written['other']) == 91
    few = to_transformers(model, ('a', 'b'))
    assert few['class_embed.bias'].tolist() == [0, 1]


@pytest.mark.parametrize(
    'dtype', [torch.float32, torch.float16, torch.bfloat16]
)
def test_written_safetensors(tmp_path, dtype):
    library = pytest.importorskip('safetensors.torch')
    weights = {
        'a': torch.randn(3, 5).to(dtype),
        'turned': torch.randn(3, 5).to(dtype).T,
        'one': torch.randn(()).to(dtype),
    }
    path = tmp_path / 'a.safetensors'
    write_safetensors(weights, path)
    for found in (library.load_file(path), read_safetensors(path)):
        assert found.keys() == weights.keys()
        for key, value in weights.items():
            assert torch.equal(found[key], value)
    with pytest.raises(InputError, match='mask is torch.bool'):
        write_safetensors({'mask': torch.ones(2, dtype=torch.bool)}, path)
    assert library.load_file(path).keys() == weights.keys()
