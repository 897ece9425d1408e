import pytest
import torch
from mmdet.registry import MODELS

from rfdetr_mm.models.backbones import windowed_dinov2
from rfdetr_mm.models.backbones.windowed_dinov2 import (
    WindowedDINOv2,
    adapt_patch_kernel,
)


def build(**kwargs):
    torch.manual_seed(0)
    patch_size = kwargs.get('patch_size', 16)
    args = dict(img_size=4 * patch_size, patch_size=16, num_windows=2)
    return WindowedDINOv2(**{**args, **kwargs})


@pytest.mark.parametrize(
    'kwargs, input_hw, grid',
    [
        (dict(), (64, 96), (4, 6)),
        (dict(), (96, 32), (6, 2)),
        (dict(patch_size=14, num_windows=4), (56, 112), (4, 8)),
        (dict(num_windows=1), (48, 80), (3, 5)),
        (dict(patch_size=20, num_windows=1), (60, 40), (3, 2)),
        (dict(num_registers=4), (64, 96), (4, 6)),
        (dict(out_indices=(0, 3)), (64, 96), (4, 6)),
    ],
)
def test_maps(kwargs, input_hw, grid):
    backbone = build(**kwargs)
    feats = backbone(torch.randn(2, 3, *input_hw))
    assert len(feats) == len(backbone.out_indices)
    assert {f.shape for f in feats} == {(2, 384, *grid)}


def test_is_built_from_the_registry():
    backbone = MODELS.build(dict(type='WindowedDINOv2', arch='base'))
    assert backbone.embed_dims == 768
    assert sum(p.numel() for p in backbone.parameters()) > 85e6


def test_batch_is_a_set_of_images():
    backbone = build().eval()
    images = torch.randn(3, 3, 64, 96)
    order = [2, 0, 1]
    for plain, shuffled in zip(backbone(images), backbone(images[order])):
        torch.testing.assert_close(plain[order], shuffled)


def influence(backbone, block_attn):
    """Which patches feel a change of the first patch, (4, 6) of bools."""
    images = torch.randn(1, 3, 64, 96)
    changed = images.clone()
    changed[:, :, :16, :16] += 1
    backbone.global_attn_indices = block_attn
    with torch.no_grad():
        before, after = backbone(images)[0], backbone(changed)[0]
    return (before - after).abs().amax(1)[0] > 1e-6


def test_windows_are_islands_until_a_global_block():
    """On H != W, a change in one window stays in it without global blocks."""
    backbone = build(out_indices=(2,))
    island = influence(backbone, ())
    assert island[:2, :3].all()
    assert not island[2:].any() and not island[:, 3:].any()
    assert influence(backbone, (1,)).all()


def test_one_window_equals_all_blocks_global():
    backbone = build(num_windows=1)
    images = torch.randn(1, 3, 64, 96)
    plain = backbone(images)[-1]
    backbone.global_attn_indices = tuple(range(12))
    torch.testing.assert_close(backbone(images)[-1], plain)


@pytest.mark.parametrize(
    'kwargs', [{}, dict(drop_path_rate=0.5), dict(frozen_stages=0)]
)
def test_activation_checkpointing_changes_nothing(kwargs):
    """Drop path draws the same in the second run of a block."""
    results = []
    for with_cp in (False, True):
        backbone = build(arch='tiny', with_cp=with_cp, **kwargs)
        images = torch.randn(
            2, 3, 64, 96, generator=torch.Generator().manual_seed(1)
        )
        torch.manual_seed(2)
        feats = backbone(images)
        sum(f.square().mean() for f in feats).backward()
        grads = [p.grad for p in backbone.parameters() if p.grad is not None]
        results.append((feats, grads, torch.rand(3)))
    (feats, grads, draw), (cp_feats, cp_grads, cp_draw) = results
    assert len(grads) == len(cp_grads) > 190
    torch.testing.assert_close(feats, cp_feats, rtol=0, atol=0)
    torch.testing.assert_close(grads, cp_grads, rtol=0, atol=0)
    # and what comes after it draws what it would have drawn
    assert torch.equal(draw, cp_draw)


@pytest.mark.parametrize('frozen_stages', [-1, 0])
def test_activation_checkpointing_keeps_the_inputs_of_blocks(frozen_stages):
    """Numbers kept for the backward pass: fewer than a third."""
    kept = {}
    for with_cp in (False, True):
        backbone = build(
            arch='tiny', with_cp=with_cp, frozen_stages=frozen_stages
        )
        own = {p.data_ptr() for p in backbone.parameters()}
        saved = {}

        def pack(tensor, saved=saved, own=own):
            if tensor.data_ptr() not in own:
                saved[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            feats = backbone(torch.randn(2, 3, 64, 96))
        kept[with_cp] = sum(saved.values())
        del feats
    assert kept[True] < kept[False] / 3


@pytest.mark.parametrize('mode', ['eval', 'no_grad'])
def test_activation_checkpointing_is_for_training(mode, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError

    monkeypatch.setattr(windowed_dinov2, 'checkpoint', refuse)
    backbone = build(arch='tiny', with_cp=True)
    backbone.train(mode != 'eval')
    with torch.set_grad_enabled(mode != 'no_grad'):
        backbone(torch.randn(1, 3, 64, 96))


def test_drop_path_grows_and_works_in_training_only():
    backbone = build(drop_path_rate=0.5)
    rates = [block.drop_path.drop_prob for block in backbone.blocks]
    assert rates == pytest.approx([0.5 * i / 11 for i in range(12)])
    images = torch.randn(2, 3, 64, 96)
    backbone.train()
    assert not torch.equal(backbone(images)[-1], backbone(images)[-1])
    backbone.eval()
    assert torch.equal(backbone(images)[-1], backbone(images)[-1])


@pytest.mark.parametrize('num_registers', [0, 4])
@pytest.mark.parametrize('frozen_stages', [-1, 0, 3, 12])
def test_frozen_stages(frozen_stages, num_registers):
    backbone = build(
        arch='tiny', frozen_stages=frozen_stages, num_registers=num_registers
    )
    backbone.train()
    stem = ['cls_token', 'pos_embed', 'patch_embed.weight', 'patch_embed.bias']
    stem += ['register_tokens'] * (num_registers > 0)
    expected = set(stem if frozen_stages < 0 else ())
    for name, _ in backbone.named_parameters():
        parts = name.split('.')
        if parts[0] == 'blocks' and int(parts[1]) >= frozen_stages:
            expected.add(name)
        if parts[0] == 'norm' and frozen_stages < 12:
            expected.add(name)
    assert expected == {
        name for name, p in backbone.named_parameters() if p.requires_grad
    }
    modes = [block.training for block in backbone.blocks]
    assert modes == [i >= frozen_stages for i in range(12)]


def test_blocks_after_the_last_tap_are_kept_frozen_and_not_run():
    backbone = build(out_indices=(1, 4, 7, 10))
    frozen = [n for n, p in backbone.named_parameters() if not p.requires_grad]
    assert len(frozen) == 19
    assert set(frozen) - {'mask_token'} == {
        n for n, _ in backbone.named_parameters() if n.startswith('blocks.11')
    }
    ran = []
    for block in backbone.blocks:
        block.register_forward_hook(lambda block, *_: ran.append(block))
    backbone(torch.randn(1, 3, 64, 96))
    assert ran == list(backbone.blocks[:11])


def test_every_trainable_parameter_gets_a_gradient():
    """So that DDP needs no find_unused_parameters."""
    backbone = build(out_indices=(1, 4, 7, 10), num_registers=4)
    sum(f.sum() for f in backbone(torch.randn(1, 3, 64, 96))).backward()
    without = [
        n
        for n, p in backbone.named_parameters()
        if p.requires_grad and p.grad is None
    ]
    assert without == []


@pytest.mark.parametrize('in_channels', [1, 2, 4, 7])
def test_grey_image_keeps_its_response_in_any_number_of_channels(in_channels):
    weight = torch.randn(5, 3, 2, 2)
    adapted = adapt_patch_kernel(weight, in_channels)
    assert adapted.shape == (5, in_channels, 2, 2)
    if in_channels == 1:
        torch.testing.assert_close(adapted[:, 0], weight.mean(1))
    else:
        tiled = torch.cat([weight] * 3, dim=1)[:, :in_channels]
        torch.testing.assert_close(adapted, tiled * 3 / in_channels)


@pytest.mark.parametrize('in_channels', [1, 4])
def test_rgb_weights_load_into_other_channels(in_channels):
    rgb, other = build(), build(in_channels=in_channels)
    other.load_state_dict(rgb.state_dict())
    torch.testing.assert_close(
        other.patch_embed.weight,
        adapt_patch_kernel(rgb.patch_embed.weight, in_channels),
    )
    assert other(torch.randn(1, in_channels, 64, 96))[0].shape[1] == 384


def test_position_table_of_another_resolution_is_resized_on_loading():
    small, large = build(), build(img_size=128)
    state_dict = small.state_dict()
    large.load_state_dict(state_dict)
    assert large.pos_embed.shape == (1, 1 + 64, 384)
    assert state_dict['pos_embed'].shape == (1, 1 + 16, 384)
    torch.testing.assert_close(
        large(torch.zeros(1, 3, 128, 128)), small(torch.zeros(1, 3, 128, 128))
    )


@pytest.mark.parametrize(
    'kwargs, input_hw, words',
    [
        (dict(), (64, 80), ['16 * 2 = 32', '64 x 80', '64 x 64']),
        (
            dict(patch_size=14, num_windows=4),
            (60, 56),
            ['14 * 4 = 56', '60 x 56', 'pad_size_divisor=56'],
        ),
    ],
)
def test_indivisible_input(kwargs, input_hw, words):
    with pytest.raises(ValueError) as error:
        build(**kwargs)(torch.randn(1, 3, *input_hw))
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    'kwargs, match',
    [
        (
            dict(arch='huge'),
            r"\['base', 'mini', 'small', 'tiny'\], got 'huge'",
        ),
        (dict(out_indices=(3, 6, 9, 12)), 'between 0 and 11'),
        (dict(global_attn_indices=(-1,)), 'between 0 and 11'),
        (dict(out_indices=(5, 2)), 'ascending'),
        (dict(out_indices=()), 'not empty'),
        (dict(img_size=70), '70 / 16 leaves 6; set img_size=64 or 80'),
    ],
)
def test_bad_arguments(kwargs, match):
    with pytest.raises(ValueError, match=match):
        build(**kwargs)


def test_other_patch_size_is_refused_before_anything_is_loaded():
    backbone, other = build(), build(patch_size=14, img_size=56)
    before = backbone.norm.weight.clone()
    other.norm.weight.data += 1
    with pytest.raises(ValueError, match='patches of 14 px.*patch_size=16'):
        backbone.load_state_dict(other.state_dict())
    assert torch.equal(backbone.norm.weight, before)
