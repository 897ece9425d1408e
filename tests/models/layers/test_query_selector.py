import pytest
import torch
from mmdet.structures import DetDataSample

from rfdetr_mm.models.layers.box_deltas import apply_box_deltas
from rfdetr_mm.models.layers.decoder_memory import build_memory
from rfdetr_mm.models.layers.query_selector import (
    QuerySelector,
    grid_proposals,
)
from tests.kept_shapes import kept_shapes

# One image of 2 x 3 cells, padded to 4 x 6.
PADDED = [
    DetDataSample(metainfo=dict(batch_input_shape=(4, 6), img_shape=(2, 3)))
]


def test_proposals_by_hand():
    memory = build_memory([torch.zeros(1, 2, 2, 4), torch.zeros(1, 2, 1, 2)])
    proposals, invalid = grid_proposals(memory)
    assert not invalid.any()
    torch.testing.assert_close(
        proposals[0, [0, 7, 8, 9]],
        torch.tensor(
            [
                [0.125, 0.25, 0.05, 0.05],
                [0.875, 0.75, 0.05, 0.05],
                [0.25, 0.5, 0.1, 0.1],  # doubled on the second level
                [0.75, 0.5, 0.1, 0.1],
            ]
        ),
    )


@pytest.mark.parametrize(
    'shape, num_invalid', [((49, 49), 0), ((50, 49), 2 * 49), ((3, 60), 6)]
)
def test_border_ring_of_large_grids_is_invalid(shape, num_invalid):
    proposals, invalid = grid_proposals(
        build_memory([torch.zeros(1, 1, *shape)])
    )
    assert int(invalid.sum()) == num_invalid
    assert (proposals[invalid] == 0).all()


def test_each_group_keeps_its_own_best_positions():
    torch.manual_seed(0)
    selector = QuerySelector(num_groups=3, embed_dims=8, num_classes=4)
    memory = build_memory([torch.randn(2, 8, 3, 5)])
    with torch.no_grad():
        out = selector(memory, num_queries=6, num_groups=3)
        for group in range(3):
            tokens = selector.proj(memory.tokens.reshape(1, -1, 8), 3)
            scores = selector.cls_branch(selector.norm(tokens), 3)[group]
            best = scores.view(2, 15, 4).amax(-1).sort(descending=True)
            rows = slice(6 * group, 6 * group + 6)
            torch.testing.assert_close(
                out.cls_scores[:, rows].amax(-1), best.values[:, :6]
            )


def test_first_group_in_training_is_the_group_of_evaluation():
    selector = QuerySelector(num_groups=3, embed_dims=8, num_classes=4)
    memory = build_memory([torch.randn(2, 8, 3, 5)])
    many = selector(memory, num_queries=6, num_groups=3)
    one = selector(memory, num_queries=6, num_groups=1)
    for name in ('cls_scores', 'bboxes_cxcywh_norm', 'embeddings'):
        torch.testing.assert_close(
            getattr(many, name)[:, :6], getattr(one, name)
        )


def test_small_grid_keeps_groups_aligned():
    """A grid of 6 cells gives 6 queries to every group, not 300."""
    selector = QuerySelector(num_groups=3, embed_dims=8, num_classes=4)
    out = selector(build_memory([torch.randn(2, 8, 2, 3)]), 300, 3)
    assert out.cls_scores.shape == (2, 3 * 6, 4)


def test_no_proposal_looks_into_the_padding():
    """Changing padded pixels changes nothing."""
    torch.manual_seed(0)
    selector = QuerySelector(num_groups=1, embed_dims=8, num_classes=4)
    feats = torch.randn(1, 8, 4, 6)
    changed = feats.clone()
    changed[:, :, 2:] += 5
    changed[:, :, :, 3:] -= 5
    first, second = (
        selector(build_memory([x], PADDED), 6, 1) for x in (feats, changed)
    )
    assert torch.equal(first.cls_scores, second.cls_scores)


def test_padded_cells_compete_with_the_scores_of_zeros():
    torch.manual_seed(0)
    selector = QuerySelector(num_groups=1, embed_dims=8, num_classes=4)
    memory = build_memory([torch.randn(1, 8, 4, 6)], PADDED)
    out = selector(memory, num_queries=24, num_groups=1)
    zeros = selector.norm(selector.proj(torch.zeros(1, 1, 8), 1))
    expected = selector.cls_branch(zeros, 1)[0]
    same = torch.isclose(out.cls_scores[0], expected, atol=1e-6).all(dim=1)
    assert int(same.sum()) == 24 - 2 * 3
    assert (out.bboxes_cxcywh_norm[0][same] == 0).all()


@pytest.mark.parametrize('samples', [None, PADDED * 2])
def test_training_computes_what_one_pass_over_all_positions_does(samples):
    """Values and gradients, though only selected positions have any."""
    torch.manual_seed(0)
    selector = QuerySelector(num_groups=3, embed_dims=8, num_classes=4)
    selector = selector.double()
    feats = torch.randn(2, 8, 4, 6, dtype=torch.float64, requires_grad=True)
    leaves = [feats, *selector.parameters()]

    def gradients(scores, boxes, embeddings):
        loss = scores.square().sum() + boxes.sum() + embeddings.pow(3).sum()
        return torch.autograd.grad(loss, leaves)

    out = selector(build_memory([feats], samples), 5, num_groups=3)
    memory = build_memory([feats], samples)
    proposals, invalid = grid_proposals(memory)
    tokens = memory.tokens.masked_fill(invalid.unsqueeze(-1), 0.0)
    tokens = selector.norm(selector.proj(tokens.view(1, -1, 8), 3))
    scores = selector.cls_branch(tokens, 3)
    deltas = selector.reg_branch(tokens, 3)
    boxes = apply_box_deltas(
        proposals.view(1, -1, 4).expand(3, -1, -1), deltas
    )
    # (groups, images, positions, channels)
    plain = [x.unflatten(1, (2, 24)) for x in (scores, boxes, tokens)]
    best = plain[0].amax(-1).topk(5).indices.unsqueeze(-1)
    expected = [
        x.take_along_dim(best, 2).transpose(0, 1).flatten(1, 2) for x in plain
    ]
    values = (out.cls_scores, out.bboxes_cxcywh_norm, out.embeddings)
    torch.testing.assert_close(list(values), expected)
    torch.testing.assert_close(gradients(*values), gradients(*expected))


def test_only_selected_positions_are_kept_for_the_backward_pass():
    selector = QuerySelector(num_groups=3, embed_dims=8, num_classes=4)
    memory = build_memory([torch.randn(2, 8, 3, 5, requires_grad=True)])
    with kept_shapes() as kept:
        selector._score(memory.tokens[None], num_groups=3)
        assert (3, 2 * 15, 8) in kept  # the control
        kept.clear()
        selector(memory, num_queries=6, num_groups=3)
    assert (3, 2 * 6, 8) in kept
    assert (3, 2 * 15) not in [shape[:2] for shape in kept]
