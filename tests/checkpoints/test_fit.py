import pytest
import torch
import torch.nn.functional as F
from checkpoint_factory import upstream_state_dict

from rfdetr_mm.checkpoints import (
    fit_to_shapes,
    resize_position_table,
    upstream_to_mmdet,
)


def _ours(**kwargs):
    return upstream_to_mmdet(upstream_state_dict(**kwargs))[0]


def _shapes(weights):
    return {key: tuple(tensor.shape) for key, tensor in weights.items()}


@pytest.mark.parametrize('grid_size', [2, 3, 5, 8])
def test_the_position_table_is_resized_channel_by_channel(grid_size):
    table = torch.randn(1, 10, 8)
    resized = resize_position_table(table, grid_size)
    assert resized.shape == (1, 1 + grid_size**2, 8)
    assert torch.equal(resized[:, 0], table[:, 0])
    for channel in range(8):
        expected = F.interpolate(
            table[:, 1:, channel].reshape(1, 1, 3, 3),
            (grid_size, grid_size),
            mode='bicubic',
            antialias=True,
        )
        torch.testing.assert_close(
            resized[0, 1:, channel], expected.flatten(), rtol=0, atol=1e-6
        )


def test_a_table_of_the_right_size_keeps_its_bits_and_type():
    table = torch.randn(1, 10, 8)
    assert resize_position_table(table, 3) is table
    assert resize_position_table(table.half(), 4).dtype == torch.float16


def test_fitting_weights_stay():
    weights = _ours()
    fitted, notes = fit_to_shapes(weights, _shapes(weights))
    assert notes == []
    assert all(fitted[key] is weights[key] for key in weights)


def test_queries_and_groups_are_cut_to_the_first_ones():
    weights = _ours(num_groups=3, num_queries=5)
    before = {key: tensor.clone() for key, tensor in weights.items()}
    shapes = _shapes(_ours(num_groups=2, num_queries=4))
    fitted, notes = fit_to_shapes(weights, shapes)
    assert _shapes(fitted) == shapes
    assert notes == ['queries: 3 groups of 5 cut to 2 groups of 4']
    key = 'bbox_head.query_embedding'
    assert torch.equal(fitted[key], weights[key][:2, :4])
    key = 'bbox_head.query_selector.cls_branch.weight'
    assert torch.equal(fitted[key], weights[key][:2])
    assert fitted[key].untyped_storage().nbytes() == fitted[key].nbytes
    assert all(torch.equal(weights[k], t) for k, t in before.items())


def test_the_position_table_is_fitted():
    weights = _ours()
    shapes = {**_shapes(weights), 'backbone.pos_embed': (1, 26, 8)}
    fitted, notes = fit_to_shapes(weights, shapes)
    expected = resize_position_table(weights['backbone.pos_embed'], 5)
    assert torch.equal(fitted['backbone.pos_embed'], expected)
    assert notes == ['position table: 3x3 resized to 5x5']


def test_other_class_rows_are_an_error_with_the_way_out():
    shapes = _shapes(_ours(num_rows=8))
    with pytest.raises(ValueError, match='have 3 class rows') as error:
        fit_to_shapes(_ours(num_rows=4), shapes)
    assert 'num_classes=7' in str(error.value)
    assert 'set num_classes=3' in str(error.value)


@pytest.mark.parametrize(
    'changed, message',
    [
        ({'num_groups': 4}, 'of another shape: bbox_head.query'),
        ({'num_queries': 6}, 'query_embedding .3, 5, 12., expected .3, 6, 12'),
        ({'num_layers': 3}, r'22 missing: bbox_head.decoder.layers.2'),
        ({'num_layers': 1}, r'22 unknown to the model: bbox_head.decoder'),
        ({'scales': 'P5'}, 'missing: neck.resamplers'),
        ({'num_registers': 4}, '1 missing: backbone.register_tokens'),
    ],
)
def test_everything_else_has_to_agree(changed, message):
    shapes = _shapes(_ours(**changed))
    with pytest.raises(ValueError, match=message):
        fit_to_shapes(_ours(), shapes)
