import warnings

import numpy as np
import pytest

from rfdetr_mm.apis.detections import class_names_of


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
