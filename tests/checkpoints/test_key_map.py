import re

import pytest
import torch
from checkpoint_factory import upstream_state_dict

from rfdetr_mm.checkpoints.key_map import (
    RULES,
    match_keys,
    missing_keys,
    shape_errors,
)


@pytest.mark.parametrize('side', ['ours', 'upstream'])
def test_no_two_rules_share_a_name(side):
    names = [getattr(rule, side) for rule in RULES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize('side', ['ours', 'upstream'])
def test_every_rule_finds_itself_and_no_other(side):
    for rule in RULES:
        words = re.findall(r'\{(\w+)\}', getattr(rule, side))
        indices = {word: number + 11 for number, word in enumerate(words)}
        key = getattr(rule, side).format(**indices)
        matches, unknown = match_keys([key], side)
        assert not unknown
        assert matches[0].rule is rule and matches[0].indices == indices


@pytest.mark.parametrize('scales', ['P4', 'P3+P5', 'P3', 'P5'])
@pytest.mark.parametrize('num_registers', [0, 4])
@pytest.mark.parametrize('with_masks', [False, True])
def test_hand_written_keys_are_exactly_the_table(
    scales, num_registers, with_masks
):
    weights = upstream_state_dict(
        scales=scales, num_registers=num_registers, with_masks=with_masks
    )
    del weights['_kp_active_mask']
    matches, unknown = match_keys(weights, 'upstream')
    assert unknown == []
    assert missing_keys(matches, 'upstream') == []
    assert shape_errors(matches, weights, 'upstream') == []
    targets = {m.rule.ours.format(**m.indices) for m in matches}
    num_group_wise = sum(m.rule.layout == 'stack' for m in matches)
    assert len(targets) == len(matches) - num_group_wise * 2 // 3


def test_every_missing_key_is_named():
    weights = upstream_state_dict(
        scales='P3+P5', num_registers=1, with_masks=True
    )
    del weights['_kp_active_mask']
    all_keys = set(weights)
    for key in sorted(all_keys):
        if key.endswith('register_tokens'):
            continue  # An optional part that is absent as a whole.
        matches, _ = match_keys(all_keys - {key}, 'upstream')
        assert missing_keys(matches, 'upstream') == [key]


def test_every_mis_shaped_key_is_found():
    weights = upstream_state_dict(scales='P3+P5', with_masks=True)
    del weights['_kp_active_mask']
    matches, _ = match_keys(weights, 'upstream')
    for key, tensor in weights.items():
        # One more along the last dimension, and one dimension more.
        wrong = torch.zeros(*tensor.shape[:-1], tensor.shape[-1] + 1)
        for bad in (wrong, tensor[None]):
            changed = {**weights, key: bad}
            assert shape_errors(matches, changed, 'upstream'), key


def test_wholes_are_checked():
    cases = {
        'not a square grid': {'position': (1, 9, 8)},
        '14 query rows do not divide into 3 groups': {
            'query_feat': (14, 12),
            'refpoint': (14, 4),
        },
    }
    for message, shapes in cases.items():
        weights = upstream_state_dict()
        del weights['_kp_active_mask']
        for part, shape in shapes.items():
            key = next(key for key in weights if part in key)
            weights[key] = torch.zeros(shape)
        matches, _ = match_keys(weights, 'upstream')
        errors = shape_errors(matches, weights, 'upstream')
        assert any(message in error for error in errors), errors


@pytest.mark.parametrize('num_blocks, is_complete', [(11, False), (12, True)])
def test_a_dinov2_width_has_its_depth(num_blocks, is_complete):
    weights = upstream_state_dict(num_blocks=num_blocks, width=384)
    del weights['_kp_active_mask']
    matches, _ = match_keys(weights, 'upstream')
    errors = shape_errors(matches, weights, 'upstream')
    assert (errors == []) is is_complete
    if not is_complete:
        assert '11 backbone blocks, expected 12' in errors[0]
