"""The annotated objects of a whole batch, one after another."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmdet.structures.bbox import bbox_xyxy_to_cxcywh
from mmdet.utils import InstanceList, reduce_mean
from mmengine.dist import get_world_size
from torch import Tensor

from ..layers.image_size import image_sizes_px


@dataclass
class BatchObjects:
    """Objects of all images of a batch.

    Attributes:
        labels: Classes, shape (num_objects,).
        bboxes_cxcywh_norm: Normalised boxes, shape (num_objects, 4).
        instances: The objects of each image, as the data set gave them.
    """

    labels: Tensor
    bboxes_cxcywh_norm: Tensor
    instances: InstanceList

    @classmethod
    def of(
        cls, instances: InstanceList, img_metas: Sequence[dict]
    ) -> 'BatchObjects':
        """Put the objects of a batch one after another.

        Args:
            instances: Boxes (x1, y1, x2, y2) in pixels of the network's
                input, and labels, of each image.
            img_metas: Meta data of each image with ``img_shape``, (h, w) in
                pixels.
        """
        bboxes = torch.cat([x.bboxes for x in instances])
        metas_of_objects = [
            img_meta
            for x, img_meta in zip(instances, img_metas)
            for _ in range(len(x))
        ]
        sizes_px = image_sizes_px(bboxes, metas_of_objects)
        return cls(
            labels=torch.cat([x.labels for x in instances]),
            bboxes_cxcywh_norm=bbox_xyxy_to_cxcywh(bboxes / sizes_px),
            instances=instances,
        )

    def counts(self) -> list[int]:
        """Objects of each image."""
        return [len(x) for x in self.instances]

    def filled_up(self) -> tuple[Tensor, Tensor]:
        """Labels (bs, max_objects) and boxes (bs, max_objects, 4).

        Images with fewer objects than others are filled up with copies of
        any object; there must be one.
        """
        counts = torch.tensor(self.counts())
        columns = torch.arange(int(counts.max()))
        starts = counts.cumsum(0) - counts
        rows = (starts.unsqueeze(1) + columns).clamp(max=len(self.labels) - 1)
        rows = rows.to(self.labels.device, non_blocking=True)
        return self.labels[rows], self.bboxes_cxcywh_norm[rows]


def mean_over_processes(value: float, device: torch.device) -> float:
    """Mean of a number of every process of a distributed training.

    Args:
        value: The value of this process.
        device: The device on which the processes talk to each other.

    Returns:
        The mean; alone, the value itself, without asking the device.
    """
    if get_world_size() == 1:
        return value
    return reduce_mean(torch.tensor(value, device=device)).item()
