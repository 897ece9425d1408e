"""Boxes that carry the keypoints of their objects through a pipeline."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmdet.structures.bbox import HorizontalBoxes
from torch import Tensor

from rfdetr_mm.errors import InputError


class PoseBoxes(HorizontalBoxes):
    """Horizontal boxes with keypoints.

    The transforms of mmdet move, select and join boxes through methods of
    theirs, so that keypoints follow without any transform of their own.

    Args:
        data: (x1, y1, x2, y2) in pixels, shape (n, 4).
        keypoints: (x, y, visibility), shape (n, num_keypoints, 3); x and y in
            pixels, where 0 is the centre of the first one; zeros where
            nothing is labelled.
        mirrors: Index of the keypoint that each one becomes in a mirror,
            shape (n, num_keypoints); None if that is not known.
        clone: Whether to copy the boxes.
        **kwargs: Arguments of ``HorizontalBoxes``.
    """

    def __init__(
        self,
        data: Any,
        keypoints: Tensor,
        mirrors: Tensor | None,
        clone: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(data, clone=clone, **kwargs)
        self.keypoints = keypoints.clone() if clone else keypoints
        self.mirrors = mirrors

    def __getitem__(self, index: Any) -> 'PoseBoxes':
        """Select some objects."""
        if isinstance(index, np.ndarray):
            index = torch.as_tensor(index)
        boxes, keypoints = self.tensor[index], self.keypoints[index]
        mirrors = None if self.mirrors is None else self.mirrors[index]
        if boxes.dim() == 1:
            boxes, keypoints = boxes[None], keypoints[None]
            mirrors = None if mirrors is None else mirrors[None]
        return PoseBoxes(boxes, keypoints, mirrors, clone=False)

    def __deepcopy__(self, memo: dict) -> 'PoseBoxes':
        """Copy boxes and keypoints."""
        return self.clone()

    def clone(self) -> 'PoseBoxes':
        """Copy boxes and keypoints."""
        return PoseBoxes(self.tensor, self.keypoints, self.mirrors)

    @classmethod
    def cat(cls, box_list: Sequence['PoseBoxes'], dim: int = 0) -> 'PoseBoxes':
        """Join the objects of several images.

        Args:
            box_list: The objects of each image, with equally many keypoints.
            dim: Must be 0.

        Returns:
            All of them.
        """
        mirrors = [boxes.mirrors for boxes in box_list]
        return cls(
            torch.cat([boxes.tensor for boxes in box_list], dim=dim),
            torch.cat([boxes.keypoints for boxes in box_list], dim=dim),
            None
            if any(mirror is None for mirror in mirrors)
            else torch.cat(mirrors, dim=dim),
            clone=False,
        )

    def flip_(
        self, img_shape: tuple[int, int], direction: str = 'horizontal'
    ) -> None:
        """Mirror the image, in place, and exchange left and right.

        A diagonal flip is half a turn: sides stay as they are.

        Args:
            img_shape: (height, width) in pixels.
            direction: 'horizontal', 'vertical' or 'diagonal'.

        Raises:
            InputError: If it is not known which keypoints to exchange.

        Source: rfdetr 1.11.2, datasets/_torchvision.py (x becomes width - 1
            - x); it exchanges in horizontal flips alone.
        """
        if direction != 'diagonal' and self.mirrors is None:
            raise InputError(
                'keypoints cannot be mirrored without knowing which of them '
                'are left and right: use PoseRandomFlip in place of '
                'RandomFlip, or give flip_pairs to the data set'
            )
        super().flip_(img_shape, direction)
        height, width = img_shape
        x, y, visibility = self.keypoints.unbind(-1)
        if direction != 'vertical':
            x = width - 1 - x
        if direction != 'horizontal':
            y = height - 1 - y
        self._place(torch.stack([x, y, visibility], dim=-1))
        if direction != 'diagonal':
            rows = self.mirrors.unsqueeze(-1).expand_as(self.keypoints)
            self.keypoints = self.keypoints.gather(1, rows)

    def translate_(self, distances: tuple[float, float]) -> None:
        """Move everything, in place, by (x, y) in pixels."""
        super().translate_(distances)
        self._place(
            self.keypoints + self.keypoints.new_tensor([*distances, 0])
        )

    def clip_(self, img_shape: tuple[int, int]) -> None:
        """Cut boxes at the border, in place; drop keypoints beyond it.

        Args:
            img_shape: (height, width) in pixels.
        """
        super().clip_(img_shape)
        height, width = img_shape
        x, y, _ = self.keypoints.unbind(-1)
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        self.keypoints = self.keypoints * inside.unsqueeze(-1)

    def rotate_(self, center: tuple[float, float], angle: float) -> None:
        """Turn everything, in place, see ``HorizontalBoxes.rotate_``."""
        super().rotate_(center, angle)
        matrix = np.eye(3)
        matrix[:2] = cv2.getRotationMatrix2D(center, -angle, 1)
        self._project(self.keypoints.new_tensor(matrix))

    def project_(self, homography_matrix: Tensor | np.ndarray) -> None:
        """Map everything, in place, by a matrix of shape (3, 3)."""
        super().project_(homography_matrix)
        self._project(torch.as_tensor(homography_matrix).to(self.keypoints))

    def _project(self, matrix: Tensor) -> None:
        x, y, visibility = self.keypoints.unbind(-1)
        places = torch.stack([x, y, torch.ones_like(x)], dim=-1) @ matrix.T
        places = places[..., :2] / places[..., 2:]
        self._place(torch.cat([places, visibility.unsqueeze(-1)], dim=-1))

    def rescale_(self, scale_factor: tuple[float, float]) -> None:
        """Scale everything, in place, by (x, y)."""
        super().rescale_(scale_factor)
        self.keypoints = self.keypoints * self.keypoints.new_tensor(
            [*scale_factor, 1]
        )

    def _place(self, keypoints: Tensor) -> None:
        """Take new places; what is not labelled stays zero."""
        self.keypoints = keypoints * (keypoints[..., 2:] > 0)
