"""Detections in images that are much larger than the model's input."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmdet.structures import DetDataSample

from rfdetr_mm.errors import InputError
from rfdetr_runtime.facts import KEYPOINTS

from .inferencer import RFDETRInferencer
from .slices import Window, merge_slices, slice_windows


@dataclass
class SlicedImage:
    """An image on its way through the model.

    Args:
        image: Its path or address, or its pixels (H, W, 3), BGR.
        hw: Its (height, width) in pixels.
        windows: Where its slices are.
        batches: The slices in batches, as the model takes them.
    """

    image: str | np.ndarray
    hw: tuple[int, int]
    windows: list[Window]
    batches: Iterator[Any]


class SlicedInferencer(RFDETRInferencer):
    """``RFDETRInferencer`` that looks at large images slice by slice.

    The model sees every image at one small size, where small objects vanish.
    Slices that overlap are shown to it instead, ``batch_size`` at a time, and
    their detections merged. An image that fits into one slice gives what
    ``RFDETRInferencer`` gives for it.

    Objects larger than the overlap are pieced together from several slices;
    for objects larger than a slice, ``with_whole_image`` shows the model the
    whole image too.

    Args:
        *args: Arguments of ``RFDETRInferencer``.
        patch_size: Size of slices in pixels, one number or (height, width);
            the closer to the model's image size, the less is resized.
        patch_overlap_ratio: Share of a slice that its neighbour sees too.
        merge_iou_thr: How well two slices must agree on an object; see
            :func:`~rfdetr_mm.apis.slices.merge_slices`.
        min_score: Detections of slices below it are left out. Masks are kept
            at the size of the image, so raise it where memory is short.
        with_whole_image: Whether to look at the whole image as well.
        **kwargs: Arguments of ``RFDETRInferencer``.

    Raises:
        InputError: If size or overlap of the slices is impossible.
    """

    def __init__(
        self,
        *args: Any,
        patch_size: int | tuple[int, int] = 640,
        patch_overlap_ratio: float = 0.25,
        merge_iou_thr: float = 0.5,
        min_score: float = 0.05,
        with_whole_image: bool = False,
        **kwargs: Any,
    ) -> None:
        if isinstance(patch_size, int):
            patch_size = (patch_size, patch_size)
        slice_windows(patch_size, patch_size, patch_overlap_ratio)
        self.patch_hw = patch_size
        self.patch_overlap_ratio = patch_overlap_ratio
        self.merge_iou_thr = merge_iou_thr
        self.min_score = min_score
        self.with_whole_image = with_whole_image
        super().__init__(*args, **kwargs)
        head = getattr(self.model, 'bbox_head', None)
        file_task = self._file and self._file.task
        if file_task == KEYPOINTS or getattr(head, 'schema', None) is not None:
            raise InputError(
                'slices are not supported with keypoints: an object that is '
                'cut has only some of them; take RFDETRInferencer'
            )

    def preprocess(
        self,
        inputs: Sequence[str | np.ndarray],
        batch_size: int = 1,
        **kwargs: Any,
    ) -> Iterator[tuple[list, SlicedImage]]:
        """Cut images into slices.

        Args:
            inputs: Paths, addresses or arrays (H, W, 3), BGR.
            batch_size: Slices that the model sees at a time.
            **kwargs: Arguments of ``DetInferencer``.

        Yields:
            A list of one image, and the same with its slices.
        """
        for image in inputs:
            pixels = self._pixels(image)
            hw = pixels.shape[:2]
            windows = slice_windows(
                hw, self.patch_hw, self.patch_overlap_ratio
            )
            parts: list[str | np.ndarray] = [image]
            if len(windows) > 1:
                parts = [
                    np.ascontiguousarray(pixels[top:bottom, left:right])
                    for left, top, right, bottom in windows
                ]
                if self.with_whole_image:
                    windows.append((0, 0, hw[1], hw[0]))
                    parts.append(image)
            batches = super().preprocess(parts, batch_size, **kwargs)
            yield [image], SlicedImage(image, hw, windows, batches)

    def forward(self, inputs: SlicedImage, **kwargs: Any) -> list:
        """Detect in all slices of an image and merge.

        Args:
            inputs: The image and its slices.
            **kwargs: Arguments of ``DetInferencer``.

        Returns:
            A list of one ``DetDataSample``, in pixels of the image.
        """
        found = []
        for _, batch in inputs.batches:
            found += super().forward(batch, **kwargs)
        if len(inputs.windows) == 1:
            return found
        parts = [sample.pred_instances.cpu() for sample in found]
        parts = [part[part.scores >= self.min_score] for part in parts]
        merged = DetDataSample(
            metainfo=dict(ori_shape=inputs.hw, img_shape=inputs.hw)
        )
        if isinstance(inputs.image, str):
            merged.set_metainfo(dict(img_path=inputs.image))
        merged.pred_instances = merge_slices(
            parts, inputs.windows, inputs.hw, self.merge_iou_thr
        )
        return [merged]

    def _pixels(self, image: str | np.ndarray) -> np.ndarray:
        """The image as its pipeline loads it, (H, W, 3), BGR."""
        if isinstance(image, np.ndarray):
            return image
        steps = self.pipeline.transforms
        loader = next(step for step in steps if hasattr(step, 'from_file'))
        return loader.from_file(dict(img_path=image))['img']
