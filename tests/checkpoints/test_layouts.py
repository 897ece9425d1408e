import argparse
import collections
import types

import pytest
import torch
from checkpoint_factory import (
    LORA_LAYER,
    huggingface_dinov2_state_dict,
    meta_dinov2_state_dict,
    upstream_lora_state_dict,
    upstream_state_dict,
)

from rfdetr_mm.adapter_weights import merged_weight
from rfdetr_mm.checkpoints import (
    COCO_CLASSES,
    read_checkpoint,
    read_upstream_layout,
    to_mmdet_checkpoint,
    to_upstream_checkpoint,
    upstream_to_mmdet,
)
from rfdetr_mm.errors import InputError

_NAMES = ['cat', 'dog', 'cow']


def _prefixed(prefix, state_dict):
    return {prefix + key: tensor for key, tensor in state_dict.items()}


def _checkpoint(case):
    weights = upstream_state_dict()
    args = {'class_names': _NAMES, 'lr': 1e-4}
    ema = {key: tensor + 1 for key, tensor in weights.items()}
    return {
        'bare': weights,
        'ordered': collections.OrderedDict(weights),
        'data parallel': _prefixed('module.', weights),
        'published, namespace': {
            'model': weights, 'args': argparse.Namespace(**args)
        },
        'simple namespace': {
            'model': weights, 'args': types.SimpleNamespace(**args)
        },
        'best model': {
            'model': weights, 'args': args, 'epoch': 3,
            'state_dict': _prefixed('model.', weights),
            'pytorch-lightning_version': '2.6.0', 'loops': {},
            'callbacks': {'best': {'score': 0.5}},
            'model_name': 'RFDETRNano', 'rfdetr_version': '1.11.2',
        },
        'lightning': {
            'state_dict': _prefixed('model.', weights),
            'hyper_parameters': args, 'epoch': 3, 'optimizer_states': [],
        },
        'compiled': {
            'state_dict': _prefixed('model._orig_mod.', weights),
            'hyper_parameters': args, 'args': args,
        },
        'legacy with ema': {'model': weights, 'args': args, 'ema_model': ema},
        'lightning with ema': {
            'state_dict': _prefixed('model.', weights), 'args': args,
            'callbacks': {
                'ModelCheckpoint': {'best_model_path': 'x'},
                'RFDETREMACallback': {
                    'latest_update_step': 3,
                    'average_model_state_dict': {
                        'n_averaged': torch.tensor(3),
                        **_prefixed('module.model.', ema),
                    },
                },
            },
        },
    }[case]  # fmt: skip


_CASES = {
    'bare': ('bare', False, False),
    'ordered': ('bare', False, False),
    'data parallel': ('bare', False, False),
    'published, namespace': ('published', True, False),
    'simple namespace': ('published', True, False),
    'best model': ('published', True, False),
    'lightning': ('lightning', True, False),
    'compiled': ('lightning', True, False),
    'legacy with ema': ('published', True, True),
    'lightning with ema': ('lightning', True, True),
}


@pytest.mark.parametrize('case', _CASES)
def test_upstream_layouts_give_the_same_weights(case):
    layout, has_names, has_ema = _CASES[case]
    upstream = read_upstream_layout(_checkpoint(case))
    assert upstream.layout == layout
    assert upstream.class_names == (tuple(_NAMES) if has_names else None)
    assert (upstream.ema_weights is not None) is has_ema

    converted, report = to_mmdet_checkpoint(_checkpoint(case))
    expected, _ = upstream_to_mmdet(upstream_state_dict())
    assert converted['state_dict'].keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(converted['state_dict'][key], tensor), key
    names = tuple(_NAMES) if has_names else ('class_0', 'class_1', 'class_2')
    assert converted['meta'] == {'dataset_meta': {'classes': names}}
    left_out = any('averaged' in note for note in report.notes)
    assert left_out is has_ema


@pytest.mark.parametrize('case', ['legacy with ema', 'lightning with ema'])
def test_averaged_weights_are_taken_when_wanted(case):
    converted, _ = to_mmdet_checkpoint(_checkpoint(case), use_ema=True)
    plain, _ = upstream_to_mmdet(upstream_state_dict())
    for key, tensor in plain.items():
        assert torch.equal(converted['state_dict'][key], tensor + 1), key


def test_averaged_weights_that_are_not_there_are_an_error():
    with pytest.raises(InputError, match='no averaged'):
        to_mmdet_checkpoint(_checkpoint('lightning'), use_ema=True)


@pytest.mark.parametrize(
    'content',
    [
        {'state_dict': {'backbone.conv1.weight': 1}, 'meta': {'epoch': 1}},
        {'conv1.weight': 1},
        {'model': {'conv1.weight': 1}, 'args': {}},
        {'model': 'resnet', 'state_dict': None},
        {'state_dict': {0: 1}},
        {},
    ],
)
def test_other_files_pass_through(content):
    assert read_upstream_layout(content) is None
    converted, report = to_mmdet_checkpoint(content)
    assert report is None
    assert converted == content


def test_our_own_files_pass_through_untouched():
    ours, _ = to_mmdet_checkpoint(_checkpoint('lightning'))
    content = {**ours, 'message_hub': {}, 'optimizer': {'state': {}}}
    converted, report = to_mmdet_checkpoint(content)
    assert report is None and converted.keys() == content.keys()
    assert all(converted[key] is content[key] for key in content)


def test_an_upstream_file_without_its_backbone_does_not_pass_through():
    weights = upstream_state_dict()
    head = {k: t for k, t in weights.items() if not k.startswith('backbone')}
    with pytest.raises(InputError, match='missing: backbone'):
        to_mmdet_checkpoint({'model': head})


@pytest.mark.parametrize('field', ['model', 'ema_model'])
def test_a_lora_file_is_merged(field):
    weights = upstream_state_dict()
    lora = upstream_lora_state_dict(weights)
    content = {'model': weights, field: lora}
    converted, report = to_mmdet_checkpoint(content, use_ema=field != 'model')
    assert 'adapters of 3 layers merged into their weights' in report.notes
    plain, _ = upstream_to_mmdet(weights)
    state_dict = converted['state_dict']
    assert state_dict.keys() == plain.keys()
    for key, tensor in plain.items():
        if 'blocks.1.attn.' not in key or not key.endswith('.weight'):
            assert torch.equal(state_dict[key], tensor), key
            continue
        layer = key.removeprefix('backbone.blocks.1.attn.')
        layer = layer.removesuffix('.weight')
        if layer == 'proj':
            assert torch.equal(state_dict[key], tensor)
            continue
        theirs = LORA_LAYER.format(layer)
        expected = merged_weight(
            tensor,
            lora[f'{theirs}.lora_A.default.weight'],
            lora[f'{theirs}.lora_B.default.weight'],
            lora[f'{theirs}.lora_magnitude_vector.default.weight'],
        )
        assert torch.equal(state_dict[key], expected)
        assert not torch.equal(state_dict[key], tensor)


def test_a_lora_file_without_its_base_is_refused():
    lora = upstream_lora_state_dict(upstream_state_dict())
    del lora[LORA_LAYER.format('key') + '.base_layer.weight']
    with pytest.raises(InputError, match='key.base_layer.weight'):
        to_mmdet_checkpoint({'model': lora})


@pytest.mark.parametrize(
    'state_dict', [meta_dinov2_state_dict(), huggingface_dinov2_state_dict()]
)
def test_dinov2_weights_become_the_backbones(state_dict):
    converted, report = to_mmdet_checkpoint(state_dict)
    assert report is not None
    assert 'blocks.1.attn.query.weight' in converted['state_dict']
    assert converted['meta'] == {}


def test_a_coco_file_without_names_says_cocos():
    content = {'model': upstream_state_dict(91), 'args': {'class_names': None}}
    converted, _ = to_mmdet_checkpoint(content)
    assert converted['meta']['dataset_meta']['classes'] == COCO_CLASSES


def test_given_names_win():
    converted, _ = to_mmdet_checkpoint(_checkpoint('lightning'), ['a', 'b'])
    assert converted['meta']['dataset_meta']['classes'] == ('a', 'b')
    assert len(converted['state_dict']['bbox_head.cls_branch.bias']) == 2


def test_converted_files_load_with_weights_only(tmp_path):
    converted, _ = to_mmdet_checkpoint(_checkpoint('published, namespace'))
    torch.save(converted, tmp_path / 'a.pth')
    read = torch.load(tmp_path / 'a.pth', weights_only=True)
    assert read['meta'] == converted['meta']
    assert read_checkpoint(tmp_path / 'a.pth')['meta'] == converted['meta']


def test_the_way_back_carries_what_upstream_asks_for():
    ours, _ = to_mmdet_checkpoint(_checkpoint('lightning'))
    back, _ = to_upstream_checkpoint(ours, resolution=384)
    assert back['args'] == {
        'class_names': _NAMES, 'num_classes': 3, 'num_queries': 5,
        'group_detr': 3, 'segmentation_head': False,
        'pretrain_weights': None, 'resolution': 384,
    }  # fmt: skip
    again, report = to_mmdet_checkpoint(back)
    assert again['meta'] == ours['meta']
    for key, tensor in ours['state_dict'].items():
        assert torch.equal(again['state_dict'][key], tensor), key


@pytest.mark.parametrize('key', ['classes', 'CLASSES'])
def test_the_way_back_reads_names_from_mmengine_and_mmdet_2_files(key):
    ours, _ = to_mmdet_checkpoint(_checkpoint('lightning'))
    ours['meta'] = {'dataset_meta': {key: ('x', 'y', 'z')}}
    back, _ = to_upstream_checkpoint(ours)
    assert back['args']['class_names'] == ['x', 'y', 'z']


def test_the_way_back_takes_bare_weights():
    ours, _ = to_mmdet_checkpoint(_checkpoint('lightning'))
    back, _ = to_upstream_checkpoint(ours['state_dict'], _NAMES)
    assert back['args']['class_names'] == _NAMES
    with pytest.raises(InputError, match='unknown: conv1.weight'):
        to_upstream_checkpoint({'conv1.weight': torch.zeros(1)})


@pytest.mark.parametrize('meta', [None, [], 'x', torch.zeros(2), 3])
def test_the_way_back_takes_weights_with_a_meta_that_is_none(meta):
    ours, _ = to_mmdet_checkpoint(upstream_state_dict())
    theirs, _ = to_upstream_checkpoint(
        dict(state_dict=ours['state_dict'], meta=meta)
    )
    plain, _ = to_upstream_checkpoint(ours['state_dict'])
    assert theirs['model'].keys() == plain['model'].keys()
