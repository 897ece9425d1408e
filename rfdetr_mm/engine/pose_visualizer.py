"""mmdet's visualizer with keypoints."""

from typing import Any

import numpy as np
from mmdet.registry import VISUALIZERS
from mmengine.structures import InstanceData

from rfdetr_runtime.skeletons import paint_skeletons

from .visualizer import ReadableDetVisualizer

MIN_SCORE = 0.5  # of a predicted keypoint that is painted


@VISUALIZERS.register_module()
class PoseLocalVisualizer(ReadableDetVisualizer):
    """``ReadableDetVisualizer`` that paints skeletons over boxes.

    Of the truth hidden keypoints are rings; of predictions those are painted
    that an annotator would more likely find than not. Lines are those of the
    data set, ``keypoint_links`` in its meta data, or of COCO's people.

    Takes what ``ReadableDetVisualizer`` takes.
    """

    def _draw_instances(
        self,
        image: np.ndarray,
        instances: InstanceData,
        *args: Any,
        **kwargs: Any,
    ) -> np.ndarray:
        painted = super()._draw_instances(image, instances, *args, **kwargs)
        if 'keypoints' not in instances:
            return painted
        keypoints = np.asarray(instances.keypoints, dtype=np.float64)
        if 'keypoint_scores' in instances:
            seen = np.asarray(instances.keypoint_scores) > MIN_SCORE
            keypoints = np.dstack([keypoints, 2 * seen])
        labels = np.asarray(instances.labels).tolist()
        links = (self.dataset_meta or {}).get('keypoint_links')
        return paint_skeletons(painted, keypoints, labels, links)
