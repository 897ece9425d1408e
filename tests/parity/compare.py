"""How parity is judged: the tolerances of the design, and sets of rows."""

import torch
from rfdetr_mm.models.layers.query_selector import SelectedProposals
from torch import Tensor

STAGE = dict(atol=1e-5, rtol=1e-5)
END_TO_END = dict(atol=2e-4, rtol=2e-4)
TIE = 1e-5


def assert_stage(actual: Tensor, expected: Tensor, **tolerance) -> None:
    """Compare one stage that was fed upstream's input."""
    torch.testing.assert_close(actual, expected, **(tolerance or STAGE))


def same_rows(
    ours: SelectedProposals,
    their_scores: Tensor,
    their_boxes: Tensor,
    num_groups: int,
) -> int:
    """Assert that both selected the same proposals; count swaps.

    Within an image and group every row of upstream has one row of ours;
    where they stand at different places, their scores tie.
    """
    swaps = 0
    our_rows = torch.cat([ours.cls_scores, ours.bboxes_cxcywh_norm], dim=-1)
    their_rows = torch.cat([their_scores, their_boxes], dim=-1)
    for ours_b, theirs_b in zip(our_rows, their_rows):
        groups = zip(ours_b.chunk(num_groups), theirs_b.chunk(num_groups))
        for our_group, their_group in groups:
            distance = torch.cdist(their_group, our_group, p=float('inf'))
            place = distance.argmin(dim=1)
            assert len(place.unique()) == len(place), 'rows are not a set'
            assert_stage(our_group[place], their_group)
            moved = place != torch.arange(len(place))
            best = their_group[:, :-4].amax(dim=1)
            tie = (best - best[place]).abs()[moved]
            assert (tie < TIE).all(), f'{tie} apart is no tie'
            swaps += int(moved.sum())
    return swaps


def gradient_errors(
    ours: dict[str, Tensor], theirs: dict[str, Tensor]
) -> dict[str, float]:
    """Relative error of each gradient; tiny ones against the global norm."""
    total = torch.stack([g.norm() for g in theirs.values()]).norm()
    errors = {}
    for name, theirs_grad in theirs.items():
        norm = theirs_grad.norm()
        scale = norm if norm > 1e-6 * total else total
        errors[name] = float((ours[name] - theirs_grad).norm() / scale)
    return errors
