import pytest
import torch
from checkpoint_factory import upstream_state_dict

from rfdetr_mm.checkpoints import (
    COCO_CLASSES,
    counts_of_mask,
    mmdet_to_upstream,
    reset_precision,
    resize_keypoint_rows,
    take_keypoint_rows,
    to_upstream_checkpoint,
    upstream_to_mmdet,
)
from rfdetr_mm.checkpoints.keypoint_rows import (
    KEYPOINT_ROW_WEIGHTS,
    OUR_SCHEMA,
    choose_keypoint_rows,
    mask_of_counts,
)
from rfdetr_mm.errors import InputError

_PRECISION = (
    'bbox_head.keypoint_branch.layers.2',
    'bbox_head.proposal_keypoint_branch.2',
)


def test_published_names_are_those_of_keypoint_files():
    """Written by hand from upstream's list of keys."""
    upstream = upstream_state_dict(2, keypoints=(3,))
    ours, report = upstream_to_mmdet(upstream)
    for our_key, key in (
        (
            'neck.second.fusions.0.reduce.conv.weight',
            'backbone.0.cross_attn_projector.stages.0.0.cv1.conv.weight',
        ),
        (
            'bbox_head.keypoint_queries.fc2.weight',
            'transformer.keypoint_query_initializer.adaLN_modulation.2.weight',
        ),
        (
            'bbox_head.proposal_keypoint_queries.queries',
            'transformer.keypoint_query_initializer_enc.queries',
        ),
        (
            'bbox_head.decoder.keypoint_pos',
            'transformer.decoder.keypoint_pos_embed',
        ),
        (
            'bbox_head.decoder.keypoint_layers.1.norms.1.bias',
            'transformer.decoder.layers.1.kp_cross_attn_norm.bias',
        ),
        (
            'bbox_head.decoder.keypoint_layers.0.instance_scale',
            'transformer.decoder.layers.0.instance_kp_layer_scale',
        ),
        (
            'bbox_head.keypoint_branch.layers.2.weight',
            'keypoint_embed.layers.2.weight',
        ),
    ):
        assert torch.equal(ours[our_key], upstream[key])
    stacked = ours['bbox_head.proposal_keypoint_branch.1.weight']
    for group in range(3):
        key = f'transformer.enc_out_keypoint_embed.{group}.layers.1.weight'
        assert torch.equal(stacked[group], upstream[key])
    used = [*report.renamed, *report.reshaped, *report.dropped]
    used += [key for keys in report.stacked.values() for key in keys]
    assert sorted(used) == sorted(upstream)
    parameters = [t for key, t in ours.items() if key != OUR_SCHEMA]
    assert report.num_parameters == sum(t.numel() for t in parameters)


@pytest.mark.parametrize(
    ('num_rows', 'counts', 'names', 'rows', 'ours'),
    [
        # The layouts that the published file may have.
        (2, (17,), None, [0], ('person',)),
        (91, (17,), COCO_CLASSES, [0], ('person',)),
        (2, (0, 17), None, [1], ('person',)),
        (2, (0, 17), ['person'], [1], ('person',)),
        (3, (0, 17), ['__background__', 'person'], [1], ('person',)),
        # Own classes
        (4, (4, 0, 2), ['a', 'b', 'c'], [0, 1, 2], ('a', 'b', 'c')),
        (4, (4, 0), ['a', 'b', 'c'], [0, 1, 2], ('a', 'b', 'c')),
        (4, (4, 2), None, [0, 1], ('class_0', 'class_1')),
        (3, (0, 5), ['a', 'b'], [0, 1], ('a', 'b')),
        (4, (0, 5, 2), ['a', 'b'], [1, 2], ('a', 'b')),
        (2, (5,), 'a', [0], ('a',)),
    ],
)
def test_which_rows_are_classes(num_rows, counts, names, rows, ours):
    assert choose_keypoint_rows(num_rows, counts, names) == (rows, ours)


@pytest.mark.parametrize(
    ('num_rows', 'counts', 'names'),
    [
        (4, (4, 2), ['a']),  # keypoints without a name
        (3, (4,), ['a', 'b', 'c', 'd']),
        (4, (0, 4, 2), ['a']),
    ],
)
def test_names_that_fit_no_reading(num_rows, counts, names):
    with pytest.raises(InputError, match=f'names {len(names)} classes, has'):
        choose_keypoint_rows(num_rows, counts, names)


@pytest.mark.parametrize('scales', ['P4', 'P3+P5'])
@pytest.mark.parametrize(
    ('num_rows', 'keypoints', 'names'),
    [
        (2, (17,), None),
        (4, (3, 0, 5), ('a', 'b', 'c')),
        (3, (0, 4), ('a', 'b')),
    ],
)
def test_round_trips_are_exact(num_rows, keypoints, names, scales):
    upstream = upstream_state_dict(
        num_rows, keypoints=keypoints, scales=scales
    )
    ours, report = upstream_to_mmdet(upstream, names)
    assert counts_of_mask(ours[OUR_SCHEMA]) == keypoints
    back, _ = mmdet_to_upstream(ours, report.class_names)
    assert back.keys() == upstream.keys()
    for key, tensor in upstream.items():
        if 'class_embed' in key:
            assert torch.equal(back[key][:-1], tensor[:-1]), key
        else:
            assert torch.equal(back[key], tensor), key
    again, _ = upstream_to_mmdet(back, report.class_names)
    assert all(torch.equal(again[key], ours[key]) for key in ours)


def test_a_background_in_front_is_left_out():
    """The file and its active-first twin become the same weights."""
    old = upstream_state_dict(2, keypoints=(0, 6))
    new = {
        key: tensor.flip(0) if 'class_embed' in key else tensor
        for key, tensor in old.items()
    }
    new['_kp_active_mask'] = torch.ones(1, 6, dtype=torch.bool)
    found, expected = (upstream_to_mmdet(x, ['fish'])[0] for x in (old, new))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in found)


def test_unused_weights_of_an_earlier_design_are_dropped():
    upstream = upstream_state_dict(2, keypoints=(3,))
    key = 'keypoint_head.keypoint_proj.weight'
    ours, report = upstream_to_mmdet({**upstream, key: torch.zeros(3)})
    assert 'earlier' in report.dropped[key]
    assert ours.keys() == upstream_to_mmdet(upstream)[0].keys()


@pytest.mark.parametrize('is_detection', [True, False])
def test_a_schema_without_weights_or_weights_without_schema(is_detection):
    weights = upstream_state_dict(2, keypoints=() if is_detection else (3,))
    weights['_kp_active_mask'] = torch.ones(
        1, 3 if is_detection else 0, dtype=torch.bool
    )
    with pytest.raises(InputError, match='damaged'):
        upstream_to_mmdet(weights)


def test_missing_weights_of_keypoints_are_listed():
    weights = upstream_state_dict(2, keypoints=(3,))
    del weights['transformer.decoder.layers.1.kp_linear1.bias']
    with pytest.raises(InputError, match='1 missing: .*layers.1.kp_linear1'):
        upstream_to_mmdet(weights)


def test_files_for_upstream_name_the_schema():
    ours, _ = upstream_to_mmdet(
        upstream_state_dict(3, keypoints=(3, 2)), ['a', 'b']
    )
    file, _ = to_upstream_checkpoint(ours, ['a', 'b'])
    assert file['args']['num_keypoints_per_class'] == [3, 2]
    assert file['args']['use_grouppose_keypoints'] is True
    plain, _ = to_upstream_checkpoint(
        upstream_to_mmdet(upstream_state_dict(3))[0]
    )
    assert 'use_grouppose_keypoints' not in plain['args']


def test_rows_for_another_schema_repeat_the_old_ones():
    ours, _ = upstream_to_mmdet(upstream_state_dict(2, keypoints=(3,)))
    resized = resize_keypoint_rows(ours, mask_of_counts((5, 0, 2)))
    assert counts_of_mask(resized[OUR_SCHEMA]) == (5, 0, 2)
    for name in KEYPOINT_ROW_WEIGHTS:
        assert torch.equal(resized[name], ours[name][[0, 1, 2, 0, 1, 2, 0]])


def test_rows_follow_the_classes():
    ours, _ = upstream_to_mmdet(
        upstream_state_dict(4, keypoints=(3, 0, 2)), ['a', 'b', 'c']
    )
    taken = take_keypoint_rows(ours, [2, 0, 1])
    assert counts_of_mask(taken[OUR_SCHEMA]) == (2, 3, 0)
    for name in KEYPOINT_ROW_WEIGHTS:
        assert torch.equal(taken[name], ours[name][[3, 4, 0, 1, 2]])


def test_precision_alone_is_reset():
    ours, _ = upstream_to_mmdet(upstream_state_dict(2, keypoints=(3,)))
    before = {key: tensor.clone() for key, tensor in ours.items()}
    reset = reset_precision(ours)
    assert all(torch.equal(ours[key], before[key]) for key in ours)
    changed = {k for k in ours if not torch.equal(reset[k], ours[k])}
    assert changed == {
        f'{n}.{k}' for n in _PRECISION for k in ('weight', 'bias')
    }
    single = reset[f'{_PRECISION[0]}.weight']
    grouped = reset[f'{_PRECISION[1]}.bias']
    assert (single[4:7] == 0).all() and (grouped[:, 4:7] == 0).all()
    assert torch.equal(single[:4], before[f'{_PRECISION[0]}.weight'][:4])
    assert torch.equal(grouped[:, 7], before[f'{_PRECISION[1]}.bias'][:, 7])
