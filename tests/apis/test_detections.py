import warnings

import numpy as np
import pytest
import torch

from rfdetr_mm.apis.detections import class_names_of, detections_of_image


@pytest.mark.parametrize(
    'labels, expected', [([], []), ([1, 0, 1], ['dog', 'cat', 'dog'])]
)
def test_names_of_labels(recwarn, labels, expected):
    found = class_names_of(np.array(labels, dtype=np.int64), ('cat', 'dog'))
    assert found.dtype == object and found.tolist() == expected
    assert not recwarn.list


def test_labels_without_a_name_warn_once():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('default')  # as Python's own
        for labels in ([0, 2], [3], [0]):
            found = class_names_of(np.array(labels), ('cat', 'dog'))
            assert found.tolist() == ['cat' if i == 0 else '' for i in labels]
    (warning,) = caught
    assert 'There are 2 class names' in str(warning.message)


def test_what_is_not_finite_is_left_out_with_a_warning():
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2]]).repeat(3, 1)
    boxes[0, 2] = float('nan')
    logits = torch.tensor([[5.0], [4.0], [float('nan')]])
    with pytest.warns(UserWarning, match='2 detections .* not finite'):
        found = detections_of_image((boxes, logits), (40, 60), (80, 90), 3, 0)
    assert found.scores.tolist() == [torch.tensor(4.0).sigmoid().item()]
    assert found.bboxes.isfinite().all()
