"""The class of a file is found in it, and nothing in it is run."""

from argparse import Namespace

import pytest
import torch
from mmengine.config import Config

from rfdetr_mm.apis.model_config import ModelConfig
from rfdetr_mm.apis.saved_model import identify, literal_entries
from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.shipped import read_config_of
from rfdetr_mm_light.sizes import SIZES
from tests.checkpoint_factory import upstream_state_dict

UPSTREAM = upstream_state_dict()


def upstream(args=None, **content):
    return dict(model=UPSTREAM, args=args or {}, **content)


@pytest.mark.parametrize(
    'content, path, expected',
    [
        (upstream(model_name='RFDETRMedium'), 'a.pth', 'RFDETRMedium'),
        # The stored name wins over the weights it started from.
        (
            upstream(
                dict(pretrain_weights='rf-detr-nano.pth'),
                model_name='RFDETRLargeDeprecated',
            ),
            'rf-detr-small.pth',
            'RFDETRLargeDeprecated',
        ),
        (
            upstream(Namespace(pretrain_weights='/x/rf-detr-seg-nano.pt')),
            'rf-detr-small.pth',
            'RFDETRSegNano',
        ),
        (
            upstream(dict(pretrain_weights='rf-detr-xxlarge.pth')),
            'a.pth',
            'RFDETR2XLarge',
        ),
        (
            upstream(dict(pretrain_weights='rf-detr-xlarge.pth')),
            'a.pth',
            'RFDETRXLarge',
        ),
        (
            upstream(dict(pretrain_weights='rf-detr-seg-xxlarge.pt')),
            'a.pth',
            'RFDETRSeg2XLarge',
        ),
        (
            upstream(dict(pretrain_weights='rf-detr-large-2026.pth')),
            'a.pth',
            'RFDETRLarge',
        ),
        (
            upstream(dict(pretrain_weights='rf-detr-base-o365.pth')),
            'a.pth',
            'RFDETRBase',
        ),
        # Published files say 'none'; their own names are left.
        (upstream(dict(pretrain_weights='none')), 'd/rf-detr-small.pth', None),
        (upstream(dict(pretrain_weights=None)), 'd/rf-detr-small.pth', None),
        (
            dict(
                state_dict={f'model.{k}': v for k, v in UPSTREAM.items()},
                hyper_parameters=dict(pretrain_weights='rf-detr-small.pth'),
            ),
            'last.ckpt',
            None,
        ),
    ],
)
def test_files_of_upstream(content, path, expected):
    found = identify(path, content)
    assert found.variant.class_name == (expected or 'RFDETRSmall')
    assert found.fields == {}


def test_upstreams_model_config_is_restored():
    saved = dict(
        resolution=512,
        positional_encoding_size=32,
        num_select=100,
        num_classes=7,
        device='cuda',
        amp=True,
        segmentation_head=False,
        out_feature_indexes=[3, 6, 9, 12],
        encoder='dinov2_windowed_base',
        mask_downsample_ratio=8,
        num_channels=1,
    )
    content = upstream(model_name='RFDETRNano', model_config=saved)
    assert identify('a.pth', content).fields == dict(
        resolution=512,
        positional_encoding_size=32,
        num_select=100,
        encoder='dinov2_windowed_base',
        mask_downsample_ratio=8,
        num_channels=1,
    )
    saved['encoder'] = 'of another kind'
    assert 'encoder' not in identify('a.pth', content).fields


@pytest.mark.parametrize(
    'content, message',
    [
        (dict(model=UPSTREAM), 'no training arguments .*RFDETRSmall\\(pretr'),
        (upstream(dict(pretrain_weights='my.pth')), 'cannot be inferred'),
        (upstream(model_name='RFDETRHuge'), "model_name is 'RFDETRHuge'"),
        (dict(state_dict={'a': torch.zeros(1)}), 'not those of one published'),
    ],
)
def test_nothing_to_infer_from(content, message):
    with pytest.raises(InputError, match=message):
        identify('checkpoint.pth', content)


def ours(variant, **changes):
    """The shapes, without memory, of a size's weights."""
    cfg = read_config_of(SIZES[variant]).model
    head, backbone = cfg.bbox_head, cfg.backbone
    numbers = dict(
        side=backbone.img_size // backbone.patch_size,
        queries=head.num_queries,
    )
    numbers.update(changes)
    channels = dict(mini=128, small=384, base=768)[backbone.arch]
    patch = backbone.patch_size
    layers = head.decoder.num_layers
    weights = {
        'backbone.pos_embed': (1, 1 + numbers['side'] ** 2, channels),
        'backbone.patch_embed.weight': (channels, 3, patch, patch),
        'bbox_head.query_embedding': (13, numbers['queries'], head.embed_dims),
        **{
            f'bbox_head.decoder.layers.{i}.norms.0.bias': (1,)
            for i in range(layers)
        },
    }
    if 'mask_upsample_ratio' in head:
        weights['bbox_head.mask_branch.bias'] = (1,)
    if 'num_keypoints' in head:
        weights['bbox_head.keypoint_branch.layers.2.bias'] = (8,)
    return {k: torch.empty(v, device='meta') for k, v in weights.items()}


def refuse(*args, **kwargs):
    raise AssertionError('a config was read or built')


@pytest.mark.parametrize('variant', SIZES)
def test_weights_alone_say_it(variant, monkeypatch):
    weights = ours(variant)
    monkeypatch.setattr(ModelConfig, '__init__', refuse)
    monkeypatch.setattr(Config, 'fromfile', refuse)
    found = identify('a.pth', dict(state_dict=weights, meta={}))
    assert found.variant.class_name == variant and found.fields == {}
    assert identify('a.pth', weights).variant.class_name == variant
    meta = dict(cfg=f'model_name = {variant!r}')
    other = ours_of_no_size(weights)
    found = identify('a.pth', dict(state_dict=other, meta=meta))
    assert found.variant.class_name == variant
    named = upstream(model_name=variant)
    assert identify('a.pth', named).variant.class_name == variant


def ours_of_no_size(weights):
    """Weights that are wider than those of any size."""
    wider = torch.empty(13, 7, 1000, device='meta')
    return {**weights, 'bbox_head.query_embedding': wider}


def test_another_resolution():
    found = identify('a.pth', dict(state_dict=ours('RFDETRNano', side=32)))
    assert found.variant.class_name == 'RFDETRNano'
    assert found.fields == dict(resolution=512)
    # Medium and Large differ in the table alone.
    weights = ours('RFDETRLarge', side=20)
    meta = dict(experiment_name='rfdetr_medium_custom_20261124_101112')
    found = identify('a.pth', dict(state_dict=weights, meta=meta))
    assert found.variant.class_name == 'RFDETRMedium'
    assert identify('my-large.pth', weights).variant.class_name.endswith(
        'Large'
    )
    with pytest.raises(InputError, match='not those of one published size'):
        identify('a.pth', weights)


def test_the_saved_config_is_read():
    cfg = read_config_of(SIZES['RFDETRMedium'])
    cfg.model.backbone.img_size = 640
    cfg.model.test_cfg.max_per_img = 50
    cfg.test_dataloader.dataset.pipeline[1].scale = (672, 672)
    assert cfg.pop('model_name') == 'RFDETRMedium'
    meta = dict(cfg=cfg.pretty_text)
    weights = ours('RFDETRMedium', side=40)
    content = dict(state_dict=weights, meta=meta)
    with pytest.raises(InputError, match='not those of one published size'):
        identify('a.pth', content)
    cfg.model_name = 'RFDETRMedium'
    found = identify('a.pth', dict(content, meta=dict(cfg=cfg.pretty_text)))
    assert found.variant.class_name == 'RFDETRMedium'
    assert found.fields['resolution'] == 672
    assert found.fields['positional_encoding_size'] == 40
    assert found.fields['num_select'] == 50
    assert found.fields['dec_layers'] == 4
    assert 'num_classes' not in found.fields
    assert found.fields['encoder'] == 'dinov2_windowed_small'
    assert 'mask_downsample_ratio' not in found.fields


def test_the_side_of_masks_is_read():
    cfg = read_config_of(SIZES['RFDETRSegNano'])
    cfg.model.bbox_head.mask_upsample_ratio = 1.5
    content = dict(
        state_dict=ours('RFDETRSegNano'), meta=dict(cfg=cfg.pretty_text)
    )
    found = identify('a.pth', content)
    assert found.fields['mask_downsample_ratio'] == 8  # 12 px / 1.5


def test_a_hostile_config_is_not_run(tmp_path):
    mark = tmp_path / 'mark'
    text = (
        f'import pathlib\nevil = pathlib.Path({str(mark)!r}).touch()\n'
        f'model = dict(backbone=dict(img_size=__import__("os").getpid()))\n'
        'a = dict(b=[1, (2.5, -3)], c={"d": None}, e="f")\n'
        'b, c = 1, 2\nd.e = 3\nf = [*a]\ng = a if b else c\n'
        'h = dict(**a)\ni = {**a}\nj = dict\n'
    )
    entries = literal_entries(text)
    assert entries['a'] == dict(b=[1, [2.5, -3]], c=dict(d=None), e='f')
    assert set(entries) <= {'a'}
    assert not mark.exists()
    for text in ('a = (', None, 7, '\0', '(' * 10**5):
        assert literal_entries(text) == {}
