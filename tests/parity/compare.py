"""How parity is judged: the tolerances of the design, and sets of rows."""

import torch
from mmdet.structures import OptSampleList
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from rfdetr_mm.models.dense_heads.rfdetr_head import HeadOutputs, RFDETRHead
from rfdetr_mm.models.layers.query_selector import SelectedProposals

STAGE = dict(atol=1e-5, rtol=1e-5)
END_TO_END = dict(atol=2e-4, rtol=2e-4)
TIE = 1e-5


def assert_stage(actual: Tensor, expected: Tensor, **tolerance) -> None:
    """Compare one stage that was fed upstream's input."""
    torch.testing.assert_close(actual, expected, **(tolerance or STAGE))


def place_of_rows(
    ours: SelectedProposals, theirs: dict, num_groups: int, **tolerance
) -> Tensor:
    """Assert that both selected the same proposals; say where ours are.

    Within an image and group every row of upstream has one row of ours;
    where they stand at different places, their scores tie.

    Args:
        ours: Our proposals.
        theirs: Upstream's ``enc_outputs``, the spare class included.
        num_groups: Groups among the rows.
        **tolerance: Of the compared values; the stage's by default.

    Returns:
        Our row for each of upstream's, shape (bs, rows).
    """
    our_rows = torch.cat([ours.cls_scores, ours.bboxes_cxcywh_norm], dim=-1)
    their_rows = torch.cat(
        [theirs['pred_logits'][..., :-1], theirs['pred_boxes']], dim=-1
    )
    places = []
    for our_image, their_image in zip(our_rows, their_rows):
        groups = zip(
            our_image.chunk(num_groups), their_image.chunk(num_groups)
        )
        for i, (our_group, their_group) in enumerate(groups):
            distance = torch.cdist(their_group, our_group, p=float('inf'))
            # one to one: rows in padding are equal to each other
            place = torch.from_numpy(
                linear_sum_assignment(distance.detach().numpy())[1]
            )
            assert_stage(our_group[place], their_group, **tolerance)
            moved = place != torch.arange(len(place))
            best = their_group[:, :-4].amax(dim=1)
            apart = (best - best[place]).abs()[moved]
            assert (apart < TIE).all(), f'{apart} apart is no tie'
            places.append(place + i * len(place))
    return torch.cat(places).view(len(our_rows), -1)


def decode_upstreams_rows(
    head: RFDETRHead,
    feats: tuple[Tensor, ...],
    samples: OptSampleList,
    num_groups: int,
    theirs: dict,
) -> HeadOutputs:
    """Run the head; tied proposals are decoded in upstream's order.

    Args:
        head: Our head.
        feats: Its maps.
        samples: Its samples.
        num_groups: Groups to run.
        theirs: Upstream's ``enc_outputs``.

    Returns:
        Our outputs, queries in upstream's order.
    """

    def reorder(module, args, ours):
        place = place_of_rows(ours, theirs, num_groups, **END_TO_END)
        return SelectedProposals(
            *(
                x.gather(1, place.unsqueeze(-1).expand_as(x))
                for x in (
                    ours.cls_scores,
                    ours.bboxes_cxcywh_norm,
                    ours.embeddings,
                )
            )
        )

    handle = head.query_selector.register_forward_hook(reorder)
    try:
        return head._decode(feats, samples, num_groups)
    finally:
        handle.remove()


def selection_scores(upstream: nn.Module, proposals: dict) -> dict:
    """Upstream's proposals with the logits that they were selected by.

    Args:
        upstream: Its model.
        proposals: Its ``enc_outputs``. Keypoints add to the logits after the
            selection.
    """
    keypoints = proposals.get('pred_keypoints')
    if keypoints is None:
        return proposals
    boost = upstream._aggregate_keypoint_class_logits(keypoints)
    return dict(proposals, pred_logits=proposals['pred_logits'] - boost)


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
