"""DINOv2's own files load into the backbone by init_cfg."""

import pytest
import torch
from mmdet.registry import MODELS

import rfdetr_mm  # noqa: F401  registers backbone and loaders

BACKBONE = dict(
    type='WindowedDINOv2',
    img_size=70,
    patch_size=14,
    num_windows=1,
    out_indices=(1, 10),
    global_attn_indices=(),
)
QKV = ('query', 'key', 'value')

# Ours to the names in the files, in the order of application.
META = [
    ('patch_embed.', 'patch_embed.proj.'),
    ('layer_scale1.weight', 'ls1.gamma'),
    ('layer_scale2.weight', 'ls2.gamma'),
]
HUGGING_FACE = [
    ('blocks.', 'encoder.layer.'),
    ('attn.query', 'attention.attention.query'),
    ('attn.key', 'attention.attention.key'),
    ('attn.value', 'attention.attention.value'),
    ('attn.proj', 'attention.output.dense'),
    ('layer_scale1.weight', 'layer_scale1.lambda1'),
    ('layer_scale2.weight', 'layer_scale2.lambda1'),
    ('cls_token', 'embeddings.cls_token'),
    ('mask_token', 'embeddings.mask_token'),
    ('pos_embed', 'embeddings.position_embeddings'),
    ('patch_embed.', 'embeddings.patch_embeddings.projection.'),
]


def renamed(weights, names):
    out = {}
    for key, value in weights.items():
        for ours, theirs in names:
            key = key.replace(ours, theirs)
        if key in ('norm.weight', 'norm.bias') and names is HUGGING_FACE:
            key = f'layer{key}'
        out[key] = value
    return out


def meta_file(weights):
    """Meta's layout: query, key and value in one layer."""
    fused = {k: v for k, v in weights.items()
             if not any(f'.attn.{name}.' in k for name in QKV)}  # fmt: skip
    for i in range(12):
        for kind in ('weight', 'bias'):
            fused[f'blocks.{i}.attn.qkv.{kind}'] = torch.cat(
                [weights[f'blocks.{i}.attn.{name}.{kind}'] for name in QKV]
            )
    return renamed(fused, META)


def hugging_face_file(weights):
    return renamed(weights, HUGGING_FACE)


@pytest.fixture(scope='module')
def weights():
    backbone = MODELS.build(BACKBONE)
    return {
        key: value + 0.01 * torch.randn_like(value)
        for key, value in backbone.state_dict().items()
    }


def load(path, **changes):
    backbone = MODELS.build({
        **BACKBONE, **changes,
        'init_cfg': dict(type='Pretrained', checkpoint=str(path)),
    })  # fmt: skip
    backbone.init_weights()
    return backbone.state_dict()


@pytest.mark.parametrize('layout', [meta_file, hugging_face_file])
def test_every_tensor_arrives(weights, tmp_path, layout):
    path = tmp_path / 'dinov2.pth'
    torch.save(layout(weights), path)
    loaded = load(path)
    assert loaded.keys() == weights.keys()
    for key, value in weights.items():
        assert torch.equal(loaded[key], value), key


def test_position_table_is_resized(weights, tmp_path):
    path = tmp_path / 'dinov2.pth'
    torch.save(meta_file(weights), path)
    loaded = load(path, img_size=98)
    assert loaded['pos_embed'].shape == (1, 1 + 49, 384)
    assert torch.equal(loaded['norm.bias'], weights['norm.bias'])


def test_other_patch_size_is_refused(weights, tmp_path):
    path = tmp_path / 'dinov2.pth'
    torch.save(meta_file(weights), path)
    with pytest.raises(ValueError, match='patches of 14 px.*patch_size=16'):
        load(path, patch_size=16, img_size=80)
