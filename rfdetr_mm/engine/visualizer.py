"""mmdet's visualizer with pictures that can be read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmdet.datasets import CocoDataset
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmdet.visualization import DetLocalVisualizer
from mmdet.visualization.palette import get_palette
from mmengine.dist import master_only
from mmengine.structures import InstanceData
from torch import Tensor

from rfdetr_mm_light.scores import SCORE_THRESHOLD, score_label
from rfdetr_runtime.painting import paint_objects, with_heading, with_note


@VISUALIZERS.register_module()
class ReadableDetVisualizer(DetLocalVisualizer):
    """``DetLocalVisualizer`` whose pictures can be read.

    * Colours of classes are far apart, whatever the data set. A ``palette``
      of its meta data is taken, unless it is COCO's, which mmdet's
      CocoDataset gives to all.
    * Labels stay inside, beside their boxes, and hide no small objects.
    * Truth and detections, side by side, have headings with their numbers
      and the name of the file.
    * A picture without detections says so.

    Args:
        name: The name of the instance.
        *args: Further arguments of DetLocalVisualizer.
        line_width: Width of lines in pixels; None: by the size of the image.
        notes: Whether a picture of detections alone says that there are none.
        **kwargs: Keyword arguments of DetLocalVisualizer; colours of texts,
            boxes and masks, and ``alpha``, have no effect.
    """

    def __init__(
        self,
        name: str = 'visualizer',
        *args: Any,
        line_width: int | None = None,
        notes: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, *args, **kwargs)
        self.line_width = line_width
        self.notes = notes

    def _draw_instances(
        self,
        image: np.ndarray,
        instances: InstanceData,
        classes: Sequence[str] | None,
        palette: Any,
    ) -> np.ndarray:
        labels = np.asarray(instances.labels).tolist()
        boxes = instances.get('bboxes')
        if boxes is None:  # masks alone
            boxes = _around(_as_array(instances.masks))
        painted = paint_objects(
            image,
            np.asarray(
                boxes if not hasattr(boxes, 'tensor') else boxes.tensor
            ),
            labels,
            _texts(instances, labels, classes),
            _as_array(instances.masks) if 'masks' in instances else None,
            _colours(palette, labels),
            self.line_width,
        )
        self.set_image(painted)
        return painted

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: DetDataSample | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        pred_score_thr: float = SCORE_THRESHOLD,
        step: int = 0,
    ) -> None:
        """Paint a sample, and show or save it as mmdet does.

        Args:
            name: The name of the image.
            image: uint8 RGB, shape (h, w, 3).
            data_sample: Objects and detections.
            draw_gt: Whether to paint the objects.
            draw_pred: Whether to paint the detections.
            show: Whether to open a window.
            wait_time: Seconds that it stays; 0 for ever.
            out_file: The file that is written; the backends get the picture
                if it is None.
            pred_score_thr: Detections up to this score are left out.
            step: Number of the step, for the backends.
        """
        others = ('gt_sem_seg', 'pred_sem_seg', 'gt_panoptic_seg')
        sample = None if data_sample is None else data_sample.cpu()
        if sample is None or any(key in sample for key in others):
            super().add_datasample(
                *(name, image, data_sample, draw_gt, draw_pred, show),
                *(wait_time, out_file, pred_score_thr, step),
            )
            return
        picture = self._picture(
            np.ascontiguousarray(image.clip(0, 255).astype(np.uint8)),
            sample,
            draw_gt,
            draw_pred,
            pred_score_thr,
            Path(sample.get('img_path') or name).name,
        )
        self.set_image(picture)
        if show:
            self.show(picture, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(picture[..., ::-1], out_file)
        else:
            self.add_image(name, picture, step)

    def _picture(
        self,
        image: np.ndarray,
        sample: DetDataSample,
        draw_gt: bool,
        draw_pred: bool,
        threshold: float,
        file_name: str,
    ) -> np.ndarray:
        meta = self.dataset_meta or {}
        names = meta.get('classes'), meta.get('palette')
        truth = found = image
        number, none = 0, f'no detection above {threshold:g}'
        has_truth = draw_gt and 'gt_instances' in sample
        if has_truth:
            truth = self._draw_instances(image, sample.gt_instances, *names)
        if draw_pred and 'pred_instances' in sample:
            kept = sample.pred_instances
            kept = kept[kept.scores > threshold]
            number = len(kept)
            found = self._draw_instances(image, kept, *names)
        if not has_truth:
            if draw_pred and self.notes and number == 0:
                found = with_note(found, none)
            return found
        if not draw_pred:
            return truth
        heading = f'detections above {threshold:g}: {number}'
        count = number_of(len(sample.gt_instances), 'object')
        return np.concatenate(
            [
                with_heading(truth, f'truth: {count}', file_name),
                with_heading(found, heading if number else none, file_name),
            ],
            axis=1,
        )


def number_of(count: int, what: str) -> str:
    """Count things in words, such as ``'1 object'``.

    Args:
        count: How many.
        what: Their name in the singular.
    """
    return f'{count} {what}' + ('' if count == 1 else 's')


def _texts(
    instances: InstanceData,
    labels: Sequence[int],
    classes: Sequence[str] | None,
) -> list[str]:
    names = instances.get('label_names') or [
        f'class {label}' if classes is None else classes[label]
        for label in labels
    ]
    if 'scores' not in instances:
        return list(names)
    return [
        score_label(name, float(score))
        for name, score in zip(names, instances.scores)
    ]


def _colours(palette: Any, labels: Sequence[int]) -> list[tuple] | None:
    """Colours that a user has chosen, None for the package's own."""
    of_coco = CocoDataset.METAINFO['palette']
    if palette in (None, 'none', 'random') or [*palette] == [*of_coco]:
        return None
    return get_palette(palette, max(labels, default=0) + 1)


def _as_array(masks: Any) -> np.ndarray:
    if isinstance(masks, (BitmapMasks, PolygonMasks)):
        return masks.to_ndarray().astype(bool)
    if isinstance(masks, Tensor):
        masks = masks.numpy()
    return np.asarray(masks, dtype=bool)


def _around(masks: np.ndarray) -> np.ndarray:
    """Boxes around masks, shape (n, 4)."""
    boxes = np.zeros((len(masks), 4))
    for box, mask in zip(boxes, masks):
        rows, columns = mask.any(axis=1), mask.any(axis=0)
        if rows.any():
            y, x = np.flatnonzero(rows), np.flatnonzero(columns)
            box[:] = (x[0], y[0], x[-1] + 1, y[-1] + 1)
    return boxes
