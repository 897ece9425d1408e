import pytest
import torch
from checkpoint_factory import (
    WIDTH,
    huggingface_dinov2_state_dict,
    meta_dinov2_state_dict,
    upstream_state_dict,
)

from rfdetr_mm.checkpoints import (
    dinov2_to_backbone,
    is_dinov2,
    upstream_to_mmdet,
)
from rfdetr_mm.errors import InputError


@pytest.mark.parametrize('prefix', ['', 'dinov2.'])
@pytest.mark.parametrize('num_registers', [0, 4])
def test_hugging_face_weights_equal_those_within_a_detector(
    prefix, num_registers
):
    weights = huggingface_dinov2_state_dict(prefix, num_registers)
    assert is_dinov2(weights)
    ours, _ = dinov2_to_backbone(weights)
    detector, _ = upstream_to_mmdet(
        upstream_state_dict(num_registers=num_registers)
    )
    expected = {
        key.removeprefix('backbone.'): tensor
        for key, tensor in detector.items()
        if key.startswith('backbone.')
    }
    assert ours.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(ours[key], tensor), key


@pytest.mark.parametrize('num_registers', [0, 4])
def test_metas_weights(num_registers):
    weights = meta_dinov2_state_dict(num_registers=num_registers)
    assert is_dinov2(weights)
    ours, report = dinov2_to_backbone(weights)
    expected, _ = dinov2_to_backbone(
        huggingface_dinov2_state_dict(num_registers=num_registers)
    )
    assert {k: t.shape for k, t in ours.items()} == {
        k: t.shape for k, t in expected.items()
    }
    fused = weights['blocks.1.attn.qkv.weight']
    for part, name in enumerate(('query', 'key', 'value')):
        rows = fused[part * WIDTH : (part + 1) * WIDTH]
        assert torch.equal(ours[f'blocks.1.attn.{name}.weight'], rows)
    for theirs, our_name in (
        ('pos_embed', 'pos_embed'),
        ('patch_embed.proj.bias', 'patch_embed.bias'),
        ('blocks.0.attn.proj.weight', 'blocks.0.attn.proj.weight'),
        ('blocks.0.ls1.gamma', 'blocks.0.layer_scale1.weight'),
        ('blocks.1.ls2.gamma', 'blocks.1.layer_scale2.weight'),
        ('blocks.1.norm2.bias', 'blocks.1.norm2.bias'),
        ('blocks.1.mlp.fc2.weight', 'blocks.1.mlp.fc2.weight'),
        ('norm.weight', 'norm.weight'),
    ):
        assert torch.equal(ours[our_name], weights[theirs]), theirs
    assert report.num_parameters == sum(t.numel() for t in weights.values())


@pytest.mark.parametrize('start', ['classifier.weight', 'classifier.bias'])
def test_a_classifier_is_dropped_with_its_reason(start):
    weights = huggingface_dinov2_state_dict('dinov2.')
    _, report = dinov2_to_backbone({**weights, start: torch.zeros(3)})
    assert report.dropped == {start: 'classification head on top of DINOv2'}


@pytest.mark.parametrize(
    'make', [meta_dinov2_state_dict, huggingface_dinov2_state_dict]
)
def test_incomplete_and_foreign_keys_are_listed(make):
    for key in make():
        less = {k: t for k, t in make().items() if k != key}
        with pytest.raises(InputError, match='missing'):
            dinov2_to_backbone(less)
    with pytest.raises(InputError, match='1 unknown: blocks.0.mlp.w12.bias'):
        dinov2_to_backbone(
            {
                **meta_dinov2_state_dict(),
                'blocks.0.mlp.w12.bias': torch.ones(1),
            }
        )
    with pytest.raises(InputError, match='not those of DINOv2'):
        dinov2_to_backbone({**make(), 'rope_embed.periods': torch.ones(1)})


@pytest.mark.parametrize(
    'keys',
    [
        (),
        ('state_dict', 'meta'),
        # timm's DINOv2 and plain vision transformers.
        ('patch_embed.proj.weight', 'blocks.0.ls1.gamma', 'pos_embed'),
        ('patch_embed.proj.weight', 'blocks.0.attn.qkv.weight', 'mask_token'),
        (
            'embeddings.patch_embeddings.projection.weight',
            'embeddings.mask_token',
            'encoder.layer.0.attention.attention.query.weight',
        ),
    ],
)
def test_other_transformers_are_not_taken_for_dinov2(keys):
    assert not is_dinov2(dict.fromkeys(keys))
