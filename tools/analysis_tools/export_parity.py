"""How far the detections of two models are apart, and what AP they have."""

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.datasets.api_wrappers import COCO, COCOeval
from mmdet.registry import METRICS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import Config
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
from torch import nn

TOP = 100  # detections of an image that are compared, as COCO counts
SAME_OBJECT_IOU = 0.5
TIE = 1e-5  # scores that differ by less may change places
# Relative noise in an image. The least of 1e-6, 3e-6 and 1e-5 at which ranks
# of Nano's proposals change wherever a backend's rounding changes them.
ROUNDING = 1e-5
NOISY_RUNS = 16


@dataclass
class Difference:
    """Over all images, of pairs of detections of one object.

    Attributes:
        box_px: Largest difference of a coordinate.
        score: Largest difference of a score.
        expected: Detections of the reference that must be found again.
        matched: The number of those that were.
        mask_ious: The IoU of the masks of each pair.
        undecided: Images that are left out, see :func:`is_undecided`.
        non_finite: Detections of either model with a score or a box that is
            not finite; they match nothing.
        keypoint_px: Largest difference of a keypoint's coordinate, None
            without keypoints.
    """

    box_px: float = 0.0
    score: float = 0.0
    expected: int = 0
    matched: int = 0
    mask_ious: list[float] = field(default_factory=list)
    undecided: int = 0
    non_finite: int = 0
    keypoint_px: float | None = None

    def within(self, box_px: float, score: float) -> bool:
        """Whether nothing is missed and nothing differs by more."""
        is_near = self.box_px <= box_px and self.score <= score
        is_near = is_near and not self.non_finite
        return is_near and self.matched >= self.expected

    def merge(self, other: 'Difference') -> None:
        """Take in the images of another."""
        self.box_px = max(self.box_px, other.box_px)
        self.score = max(self.score, other.score)
        self.expected += other.expected
        self.matched += other.matched
        self.mask_ious += other.mask_ious
        self.undecided += other.undecided
        self.non_finite += other.non_finite
        self._see_keypoints(other.keypoint_px)

    def _see_keypoints(self, px: float | None) -> None:
        if px is not None:
            self.keypoint_px = max(self.keypoint_px or 0.0, px)

    @property
    def mask_iou(self) -> float | None:
        """Mean over the pairs, None without masks."""
        return float(np.mean(self.mask_ious)) if self.mask_ious else None

    def add(self, reference: InstanceData, found: InstanceData) -> None:
        """Compare the detections of one image.

        The best of the reference are paired with detections of equal labels
        so that scores and boxes differ least, whatever their order. Where
        the reference itself could have chosen another as its last one,
        because the scores are equal, it is not missed.

        Args:
            reference: Detections.
            found: Detections of the other model.
        """
        reference, found = self._finite(reference), self._finite(found)
        # How sure keypoints are changes scores, not their order.
        order = reference.scores.sort(descending=True, stable=True).indices
        best, rest = reference[order[:TOP]], reference[order[TOP:]]
        if not len(best):
            return
        last = float(best.scores[-1])
        pool = found[found.scores >= min(last, 1.0) - 1e-2]
        rows, columns = _pairs(best, pool)
        self.matched += len(rows)
        missed = np.setdiff1d(np.arange(len(best)), rows)
        next_score = float(rest.scores[0]) if len(rest) else -np.inf
        tied = (best.scores[missed] - next_score).numpy() < TIE
        self.expected += len(best) - int(tied.sum())
        if not len(rows):
            return
        first, second = best[rows], pool[columns]
        self.box_px = max(
            self.box_px, float((first.bboxes - second.bboxes).abs().max())
        )
        self.score = max(
            self.score, float((first.scores - second.scores).abs().max())
        )
        if 'keypoints' in best:
            moved = (first.keypoints - second.keypoints).abs()
            self._see_keypoints(float(moved.max()))
        if 'masks' in best:
            self.mask_ious += _mask_ious(first.masks, second.masks)

    def _finite(self, found: InstanceData) -> InstanceData:
        is_finite = found.scores.isfinite() & found.bboxes.isfinite().all(1)
        self.non_finite += int((~is_finite).sum())
        return found[is_finite]


@torch.no_grad()
def is_undecided(
    model: nn.Module,
    inputs: torch.Tensor,
    samples: Sequence,
    reference: InstanceData,
    limits: Mapping[str, float],
) -> bool:
    """Whether rounding alone moves a model's detections beyond limits.

    A query is what it is by its rank among the proposals. Where two of them
    have the same score, the last bit decides which comes first, and another
    program may decide otherwise with the same right.

    Args:
        model: The detector in PyTorch.
        inputs: Normalised, of one image, shape (1, 3, h, w).
        samples: Its ``DetDataSample``, in a list.
        reference: What the model detects in it.
        limits: ``box_px`` and ``score``.
    """
    generator = torch.Generator().manual_seed(0)
    for _ in range(NOISY_RUNS):
        noise = torch.randn(inputs.shape, generator=generator)
        images = inputs * (1 + ROUNDING * noise.to(inputs))
        copies = [sample.clone() for sample in samples]
        found = model(images, copies, mode='predict')[0].pred_instances.cpu()
        moved = Difference()
        moved.add(reference, found)
        if not moved.within(**limits):
            return True
    return False


def _pairs(
    best: InstanceData, pool: InstanceData
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both that are the same object, as close as can be."""
    if not len(pool):
        return np.zeros(0, int), np.zeros(0, int)
    boxes = (best.bboxes[:, None] - pool.bboxes[None]).abs().amax(dim=-1)
    scores = (best.scores[:, None] - pool.scores[None]).abs()
    same = (best.labels[:, None] == pool.labels[None]) & (
        bbox_overlaps(best.bboxes, pool.bboxes) >= SAME_OBJECT_IOU
    )
    # Boxes without area overlap nothing, not even themselves.
    same |= (best.labels[:, None] == pool.labels[None]) & (boxes < TIE)
    # 0.05 px and 0.001 weigh the same, as in the limits.
    cost = torch.where(same, boxes + 50 * scores, torch.tensor(1e6))
    rows, columns = linear_sum_assignment(cost.numpy())
    kept = same.numpy()[rows, columns]
    return rows[kept], columns[kept]


def _mask_ious(first: torch.Tensor, second: torch.Tensor) -> list[float]:
    first, second = torch.as_tensor(first), torch.as_tensor(second)
    both = (first & second).flatten(1).sum(dim=1)
    either = (first | second).flatten(1).sum(dim=1)
    # Two empty masks are equal.
    return torch.where(either > 0, both / either.clamp(min=1), 1.0).tolist()


class AveragePrecision:
    """AP of one model, in points (0 to 100) and not rounded.

    Args:
        evaluator: Config of the :class:`NamedCocoMetric`.
        dataset_meta: The meta data of the data set.
        folder: Folder for the detections.
        name: The model's name, for file names.
    """

    def __init__(
        self, evaluator: Config, dataset_meta: dict, folder: Path, name: str
    ) -> None:
        self.prefix = folder / name
        self.ann_file = evaluator.ann_file
        self.kinds = evaluator.get('metric', 'bbox')
        if isinstance(self.kinds, str):
            self.kinds = [self.kinds]
        self.metric = METRICS.build(
            dict(evaluator, format_only=True, outfile_prefix=str(self.prefix))
        )
        self.metric.dataset_meta = dataset_meta

    def add(self, batch: dict[str, Any], samples: Sequence) -> None:
        """Take the detections of a batch."""
        self.metric.process(batch, [sample.to_dict() for sample in samples])

    def compute(self, img_ids: Sequence[int]) -> dict[str, float]:
        """AP by kind, 'bbox' and 'segm'.

        Args:
            img_ids: Images that were run.
        """
        return {k: v[0] for k, v in self.statistics(img_ids).items()}

    def statistics(self, img_ids: Sequence[int]) -> dict[str, list[float]]:
        """COCO's twelve numbers by kind; the first two are AP and AP50.

        Args:
            img_ids: Images that were run.
        """
        self.metric.evaluate(len(img_ids))
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
            truth = COCO(self.ann_file)
            return {
                kind: self._compute(truth, kind, img_ids)
                for kind in self.kinds
            }

    def _compute(
        self, truth: COCO, kind: str, img_ids: Sequence[int]
    ) -> list[float]:
        found = json.loads(Path(f'{self.prefix}.{kind}.json').read_text())
        if not found:
            return [0.0] * 12
        evaluation = COCOeval(truth, truth.loadRes(found), kind)
        evaluation.params.imgIds = list(img_ids)
        evaluation.params.maxDets = [1, 10, TOP]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return (100 * evaluation.stats).tolist()
