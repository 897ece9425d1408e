import pytest
import torch
from checkpoint_factory import EMBED, upstream_state_dict

from rfdetr_mm.checkpoints import mmdet_to_upstream, upstream_to_mmdet
from rfdetr_mm.checkpoints.class_rows import COCO_CATEGORY_IDS
from rfdetr_mm.errors import InputError

_NAMES = ('cat', 'dog', 'cow')
_CLASS_KEYS = ('class_embed', 'enc_out_class_embed')


def _is_class_row_key(key):
    return any(name in key for name in _CLASS_KEYS)


def test_keys_follow_the_contract():
    ours, _ = upstream_to_mmdet(upstream_state_dict(scales='P3+P5'))
    shapes = {key: tuple(tensor.shape) for key, tensor in ours.items()}
    block = 'backbone.blocks.1'
    layer = 'bbox_head.decoder.layers.1'
    selector = 'bbox_head.query_selector'
    expected = {
        'backbone.cls_token': (1, 1, 8),
        'backbone.mask_token': (1, 8),
        'backbone.pos_embed': (1, 10, 8),
        'backbone.patch_embed.weight': (8, 3, 4, 4),
        f'{block}.attn.query.weight': (8, 8),
        f'{block}.attn.proj.bias': (8,),
        f'{block}.layer_scale2.weight': (8,),
        f'{block}.mlp.fc1.weight': (32, 8),
        'backbone.norm.bias': (8,),
        'neck.resamplers.0.3.weight': (8, 4, 2, 2),
        'neck.resamplers.1.0.conv.weight': (8, 8, 3, 3),
        'neck.resamplers.1.3.norm.bias': (8,),
        'neck.fusions.0.reduce.conv.weight': (12, 16, 1, 1),
        'neck.fusions.1.bottlenecks.2.1.norm.weight': (6,),
        'neck.fusions.1.expand.conv.weight': (12, 30, 1, 1),
        'neck.norms.1.weight': (12,),
        f'{selector}.proj.weight': (3, EMBED, EMBED),
        f'{selector}.norm.bias': (3, EMBED),
        f'{selector}.cls_branch.weight': (3, 3, EMBED),
        f'{selector}.reg_branch.2.weight': (3, 4, EMBED),
        'bbox_head.query_embedding': (3, 5, EMBED),
        'bbox_head.query_box_deltas': (3, 5, 4),
        f'{layer}.self_attn.in_proj_weight': (3 * EMBED, EMBED),
        f'{layer}.cross_attn.sampling_offsets.bias': (12,),
        f'{layer}.norms.2.weight': (EMBED,),
        f'{layer}.ffn.layers.0.0.weight': (20, EMBED),
        f'{layer}.ffn.layers.1.bias': (EMBED,),
        'bbox_head.decoder.norm.weight': (EMBED,),
        'bbox_head.decoder.query_pos_mlp.layers.0.weight': (EMBED, 2 * EMBED),
        'bbox_head.cls_branch.weight': (3, EMBED),
        'bbox_head.reg_branch.layers.2.bias': (4,),
    }
    assert {key: shapes.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    'our_key, upstream_key',
    [
        ('norms.0.weight', 'norm1.weight'),
        ('norms.1.weight', 'norm2.weight'),
        ('norms.2.weight', 'norm3.weight'),
        ('ffn.layers.0.0.bias', 'linear1.bias'),
        ('ffn.layers.1.bias', 'linear2.bias'),
        ('self_attn.out_proj.weight', 'self_attn.out_proj.weight'),
        ('cross_attn.value_proj.weight', 'cross_attn.value_proj.weight'),
        ('cross_attn.output_proj.weight', 'cross_attn.output_proj.weight'),
    ],
)
def test_equal_shapes_of_a_decoder_layer_are_not_mixed_up(
    our_key, upstream_key
):
    upstream = upstream_state_dict()
    ours, _ = upstream_to_mmdet(upstream)
    assert torch.equal(
        ours[f'bbox_head.decoder.layers.1.{our_key}'],
        upstream[f'transformer.decoder.layers.1.{upstream_key}'],
    )


@pytest.mark.parametrize(
    'our_key, upstream_key',
    [
        ('blocks.1.norm1.bias', 'encoder.layer.1.norm1.bias'),
        ('blocks.1.norm2.bias', 'encoder.layer.1.norm2.bias'),
        (
            'blocks.1.layer_scale1.weight',
            'encoder.layer.1.layer_scale1.lambda1',
        ),
        (
            'blocks.1.layer_scale2.weight',
            'encoder.layer.1.layer_scale2.lambda1',
        ),
        (
            'blocks.0.attn.query.weight',
            'encoder.layer.0.attention.attention.query.weight',
        ),
        (
            'blocks.0.attn.value.weight',
            'encoder.layer.0.attention.attention.value.weight',
        ),
        (
            'blocks.0.attn.proj.weight',
            'encoder.layer.0.attention.output.dense.weight',
        ),
        ('norm.weight', 'layernorm.weight'),
    ],
)
def test_equal_shapes_of_the_backbone_are_not_mixed_up(our_key, upstream_key):
    upstream = upstream_state_dict()
    ours, _ = upstream_to_mmdet(upstream)
    expected = upstream[f'backbone.0.encoder.encoder.{upstream_key}']
    assert torch.equal(ours[f'backbone.{our_key}'], expected)


@pytest.mark.parametrize(
    'our_key, upstream_key',
    [
        ('fusions.1.bottlenecks.2.0', 'stages.1.0.m.2.cv1'),
        ('fusions.1.bottlenecks.2.1', 'stages.1.0.m.2.cv2'),
        ('fusions.0.bottlenecks.0.1', 'stages.0.0.m.0.cv2'),
        ('resamplers.1.2', 'stages_sampling.1.2.0'),
    ],
)
def test_equal_shapes_of_the_neck_are_not_mixed_up(our_key, upstream_key):
    upstream = upstream_state_dict(scales='P3+P5')
    ours, _ = upstream_to_mmdet(upstream)
    for part, theirs in (('conv.weight', 'conv.weight'),
                         ('norm.bias', 'bn.bias')):  # fmt: skip
        expected = upstream[f'backbone.0.projector.{upstream_key}.{theirs}']
        assert torch.equal(ours[f'neck.{our_key}.{part}'], expected)


def test_branches_and_selector_layers_are_not_mixed_up():
    upstream = upstream_state_dict()
    ours, _ = upstream_to_mmdet(upstream)
    for layer in range(3):
        assert torch.equal(
            ours[f'bbox_head.reg_branch.layers.{layer}.weight'],
            upstream[f'bbox_embed.layers.{layer}.weight'],
        )
        assert torch.equal(
            ours[f'bbox_head.query_selector.reg_branch.{layer}.bias'][2],
            upstream[f'transformer.enc_out_bbox_embed.2.layers.{layer}.bias'],
        )
    assert torch.equal(
        ours['bbox_head.query_selector.norm.weight'][1],
        upstream['transformer.enc_output_norm.1.weight'],
    )
    assert torch.equal(
        ours['bbox_head.decoder.query_pos_mlp.layers.1.bias'],
        upstream['transformer.decoder.ref_point_head.layers.1.bias'],
    )


@pytest.mark.parametrize(
    'our_key, upstream_key',
    [
        ('bias', 'bias'),
        ('blocks.1.depthwise.weight', 'blocks.1.dwconv.weight'),
        ('blocks.1.norm.bias', 'blocks.1.norm.bias'),
        ('blocks.0.pointwise.weight', 'blocks.0.pwconv1.weight'),
        ('feature_proj.weight', 'spatial_features_proj.weight'),
        ('query_ffn.norm.bias', 'query_features_block.norm_in.bias'),
        ('query_ffn.fc1.weight', 'query_features_block.layers.0.weight'),
        ('query_ffn.fc2.bias', 'query_features_block.layers.2.bias'),
        ('query_proj.weight', 'query_features_proj.weight'),
    ],
)
def test_weights_of_masks_follow_the_contract(our_key, upstream_key):
    upstream = upstream_state_dict(with_masks=True)
    ours, _ = upstream_to_mmdet(upstream)
    expected = upstream[f'segmentation_head.{upstream_key}']
    assert torch.equal(ours[f'bbox_head.mask_branch.{our_key}'], expected)


def test_a_block_of_masks_for_every_layer():
    weights = upstream_state_dict(num_layers=3, with_masks=True)
    for key in [k for k in weights if 'head.blocks.2' in k]:
        del weights[key]
    with pytest.raises(InputError, match='6 missing: .*blocks.2.dwconv'):
        upstream_to_mmdet(weights)


def test_every_number_is_used_once_and_in_its_place():
    upstream = upstream_state_dict(num_groups=3, num_queries=5)
    ours, report = upstream_to_mmdet(upstream, _NAMES)
    assert torch.equal(
        ours['backbone.blocks.0.attn.key.weight'],
        upstream[
            'backbone.0.encoder.encoder.encoder.layer.0.attention.attention'
            '.key.weight'
        ],
    )
    for group in range(3):
        assert torch.equal(
            ours['bbox_head.query_selector.reg_branch.1.weight'][group],
            upstream[
                f'transformer.enc_out_bbox_embed.{group}.layers.1.weight'
            ],
        )
        assert torch.equal(
            ours['bbox_head.query_box_deltas'][group],
            upstream['refpoint_embed.weight'][5 * group : 5 * group + 5],
        )
    used = [*report.renamed, *report.reshaped, *report.dropped]
    used += [key for keys in report.stacked.values() for key in keys]
    assert sorted(used) == sorted(upstream)
    assert report.dropped == {
        '_kp_active_mask': 'empty keypoint buffer, no weight'
    }
    assert (report.num_groups, report.num_queries) == (3, 5)
    assert report.class_names == _NAMES
    assert report.num_parameters == sum(t.numel() for t in ours.values())


def test_groups_are_stacked_in_numeric_order():
    upstream = upstream_state_dict(num_groups=12, num_queries=1)
    for group in range(12):
        upstream[f'transformer.enc_output.{group}.bias'].fill_(group)
    ours, _ = upstream_to_mmdet(upstream)
    stacked = ours['bbox_head.query_selector.proj.bias']
    assert stacked[:, 0].tolist() == list(range(12))


@pytest.mark.parametrize(
    'num_rows, names', [(4, _NAMES), (91, None), (2, ('cat',))]
)
@pytest.mark.parametrize('scales', ['P4', 'P3+P5'])
@pytest.mark.parametrize('with_masks', [False, True])
def test_round_trips_are_exact(num_rows, names, scales, with_masks):
    upstream = upstream_state_dict(
        num_rows, scales=scales, num_registers=2, with_masks=with_masks
    )
    before = {key: tensor.clone() for key, tensor in upstream.items()}
    ours, report = upstream_to_mmdet(upstream, names)
    back, _ = mmdet_to_upstream(ours, report.class_names)
    again, _ = upstream_to_mmdet(back, report.class_names)

    assert all(torch.equal(upstream[k], t) for k, t in before.items())
    assert ours.keys() == again.keys()
    assert all(torch.equal(ours[key], again[key]) for key in ours)
    assert upstream.keys() == back.keys()
    kept = list(COCO_CATEGORY_IDS) if num_rows == 91 else range(num_rows - 1)
    spare = sorted(set(range(num_rows)) - set(kept))
    for key, tensor in upstream.items():
        if not _is_class_row_key(key):
            assert torch.equal(back[key], tensor), key
            continue
        assert torch.equal(back[key][list(kept)], tensor[list(kept)]), key
        fill = -20.0 if key.endswith('bias') else 0.0
        assert (back[key][spare] == fill).all(), key


def test_unused_ids_of_a_coco_head_become_spare():
    ours, _ = upstream_to_mmdet(upstream_state_dict(91))
    back, report = mmdet_to_upstream(ours)
    for unused in (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83):
        assert back['class_embed.bias'][unused] == -20.0
    assert (back['class_embed.bias'] == -20.0).sum() == 11
    assert '80 written to 91' in report.notes[0]


def test_group_weights_do_not_share_storage_when_saved():
    ours, _ = upstream_to_mmdet(upstream_state_dict())
    back, _ = mmdet_to_upstream(ours)
    for group in range(3):
        weight = back[f'transformer.enc_output.{group}.weight']
        assert weight.untyped_storage().nbytes() == weight.nbytes


def test_old_files_without_the_keypoint_buffer_convert():
    upstream = upstream_state_dict()
    del upstream['_kp_active_mask']
    _, report = upstream_to_mmdet(upstream)
    assert report.dropped == {}


def _without(key):
    def change(weights):
        del weights[key]

    return change


def _with(key, shape):
    def change(weights):
        weights[key] = torch.zeros(shape)

    return change


@pytest.mark.parametrize(
    'change, message',
    [
        (
            _without('transformer.enc_output.2.weight'),
            r'1 missing: transformer.enc_output.2.weight\n',
        ),
        (_with('extra.weight', (2,)), '1 unknown: extra.weight'),
        (
            _with('class_embed.bias', (5,)),
            r'1 mis-shaped: class_embed.bias \[5\], expected \[4\]',
        ),
        (
            _with('bbox_embed.layers.2.weight', (5, EMBED)),
            r'bbox_embed.layers.2.weight \[5, 12\], expected \[4, 12\]',
        ),
    ],
)
def test_bad_keys_are_listed(change, message):
    weights = upstream_state_dict()
    change(weights)
    with pytest.raises(InputError, match=message):
        upstream_to_mmdet(weights)


def test_all_problems_come_in_one_message():
    weights = upstream_state_dict()
    weights['extra'] = weights.pop('query_feat.weight')
    weights['class_embed.bias'] = torch.zeros(7)
    with pytest.raises(InputError) as error:
        upstream_to_mmdet(weights)
    for part in ('unknown: extra', 'missing: query_feat', 'class_embed.bias'):
        assert part in str(error.value)


def test_the_way_back_is_strict_too():
    ours, _ = upstream_to_mmdet(upstream_state_dict(), _NAMES)
    for key in ours:
        less = {k: t for k, t in ours.items() if k != key}
        with pytest.raises(InputError, match=f'1 missing: {key}'):
            mmdet_to_upstream(less, _NAMES)
        # One row more.
        more = {**ours, key: torch.cat([ours[key], ours[key][:1]])}
        with pytest.raises(InputError, match='mis-shaped'):
            mmdet_to_upstream(more, _NAMES)
    with pytest.raises(InputError, match='1 unknown: ema'):
        mmdet_to_upstream({**ours, 'ema': torch.zeros(1)}, _NAMES)


def test_values_that_are_no_tensors_are_listed():
    weights = {**upstream_state_dict(), 'epoch': 3}
    with pytest.raises(InputError, match=r'1 not tensors: epoch \(int\)'):
        upstream_to_mmdet(weights)
