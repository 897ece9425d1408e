"""Which models transformers has, and whether a config is of the same."""

import json
from pathlib import Path

import pytest
from mmengine.config import Config

from rfdetr_mm.apis.transformers_config import (
    check_transformers_config,
    processor_config,
    transformers_config,
)
from rfdetr_mm.apis.transformers_folder import write_transformers
from rfdetr_mm.errors import InputError

CONFIGS = Path(__file__).parents[2] / 'configs'


def config(name):
    return Config.fromfile(CONFIGS / f'{name}_coco.py')


@pytest.mark.parametrize(
    'name',
    [
        'rfdetr/rfdetr_nano',
        'rfdetr/rfdetr_base',
        'rfdetr/rfdetr_large',
        'rfdetr_seg/rfdetr-seg_nano',
        'rfdetr_seg/rfdetr-seg_2xlarge',
    ],
)
def test_a_model_agrees_with_its_own(name):
    described = json.loads(json.dumps(transformers_config(config(name))))
    check_transformers_config(described, config(name))


def test_numbers_of_base():
    """Those that transformers 5.24.0 has as defaults, Base's."""
    described = transformers_config(config('rfdetr/rfdetr_base'))
    backbone = described['backbone_config']
    stages = [f'stage{i}' for i in (2, 5, 8, 11)]
    assert backbone['out_features'] == stages
    assert (backbone['patch_size'], backbone['num_windows']) == (14, 4)
    assert (described['decoder_layers'], described['d_model']) == (3, 256)


@pytest.mark.parametrize(
    'where, value, message',
    [
        ('decoder_layers', 5, 'decoder_layers is 5 there, 2 here'),
        ('decoder_self_attention_heads', 4, 'self_attention_heads is 4'),
        ('activation_function', 'relu', "activation_function is 'relu'"),
        ('backbone_config.num_windows', 4, 'backbone_config.num_windows is 4'),
    ],
)
def test_differences_are_named(where, value, message):
    nano = config('rfdetr/rfdetr_nano')
    described = transformers_config(nano)
    *folders, name = where.split('.')
    node = described
    for folder in folders:
        node = node[folder]
    node[name] = value
    with pytest.raises(InputError, match=message):
        check_transformers_config(described, nano)


@pytest.mark.parametrize(
    'name, message',
    [
        ('rfdetr/rfdetr_large-deprecated', r'scales \[2.0, 0.5\]'),
        ('rfdetr_pose/rfdetr-pose_preview', 'RFDETRPoseHead'),
    ],
)
def test_models_that_transformers_lacks(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        write_transformers({}, config(name), tmp_path / 'new')
    assert not list(tmp_path.iterdir())


def test_a_folder_with_content_is_kept(tmp_path):
    (tmp_path / 'mine').write_text('')
    with pytest.raises(InputError, match='is not an empty folder'):
        write_transformers({}, config('rfdetr/rfdetr_nano'), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['mine']


def test_images_are_prepared_alike():
    nano = config('rfdetr/rfdetr_nano')
    found = processor_config(nano)
    assert found['size'] == dict(height=384, width=384)
    assert found['image_mean'] == [0.485, 0.456, 0.406]
    assert found['image_std'] == [0.229, 0.224, 0.225]
