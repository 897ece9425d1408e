"""Labels of FiftyOne."""

import numpy as np
import pytest

pytest.importorskip('fiftyone')
supervision = pytest.importorskip('supervision')

from rfdetr_mm.apis.adapters.fiftyone import (  # noqa: E402
    fiftyone_detections,
)

HW = (100, 200)


@pytest.mark.parametrize('has_mask', [False, True])
def test_boxes_and_masks(has_mask):
    masks = np.zeros((1, *HW), bool)
    masks[0, 12:30, 20:50] = True
    found = supervision.Detections(
        xyxy=np.array([[20, 10, 60, 30.0]]),
        mask=masks if has_mask else None,
        confidence=np.array([0.25]),
        class_id=np.array([0]),
        data=dict(class_name=np.array(['cat'], dtype=object)),
    )
    (label,) = fiftyone_detections(found, HW).detections
    assert (label.label, label.confidence) == ('cat', 0.25)
    assert label.bounding_box == pytest.approx([0.1, 0.1, 0.2, 0.2])
    if has_mask:
        painted = label.to_segmentation(frame_size=HW[::-1]).mask > 0
        assert np.array_equal(painted, masks[0])


def test_nothing_found():
    found = supervision.Detections.empty()
    assert fiftyone_detections(found, HW).detections == []
