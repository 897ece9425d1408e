"""SAHI's own functions with our models."""

import numpy as np
import pytest

pytest.importorskip('sahi')
pytest.importorskip('supervision')

from sahi.predict import (  # noqa: E402
    get_prediction,
    get_sliced_prediction,
)

from rfdetr_mm.apis import RFDETRSegNano, RFDETRTiny  # noqa: E402
from rfdetr_mm.apis.adapters.sahi import sahi_model  # noqa: E402
from rfdetr_mm.errors import InputError  # noqa: E402
from tests.apis.test_rfdetr_friends_docs import picture  # noqa: E402


@pytest.fixture(scope='module')
def tiny():
    return RFDETRTiny(device='cpu')


def as_rows(objects):
    return [
        (*found.bbox.to_xyxy(), found.score.value, found.category.name)
        for found in objects
    ]


def test_a_whole_image(tiny):
    own = tiny.predict(picture(), threshold=0.3)
    result = get_prediction(picture(), sahi_model(tiny, 0.3))
    expected = [
        (*box, score, name)
        for box, score, name in zip(
            own.xyxy.tolist(),
            own.confidence.tolist(),
            own.data['class_name'],
        )
    ]
    assert as_rows(result.object_prediction_list) == expected and expected


def test_batches_of_slices(tiny):
    sizes = dict(slice_height=160, slice_width=200, verbose=0)
    model = sahi_model(tiny, 0.3)
    results = [
        as_rows(
            get_sliced_prediction(
                picture(), model, batch_size=n, **sizes
            ).object_prediction_list
        )
        for n in (1, 4)
    ]
    assert [row[5] for row in results[0]] == [row[5] for row in results[1]]
    np.testing.assert_allclose(
        [row[:5] for row in results[0]],
        [row[:5] for row in results[1]],
        atol=1e-3,
    )


def test_masks():
    model = RFDETRSegNano(
        pretrain_weights=None,
        device='cpu',
        num_queries=9,
        group_detr=2,
        dec_layers=1,
        resolution=96,
    )
    own = model.predict(picture(), threshold=0.0)
    result = get_prediction(picture(), sahi_model(model, 0.0))
    found = result.object_prediction_list
    assert 0 < len(found) <= len(own)
    areas = {int(mask.sum()) for mask in own.mask}
    assert {int(o.mask.bool_mask.sum()) for o in found} <= areas


def test_keypoints_are_refused():
    class Pose:
        class model_config:
            use_grouppose_keypoints = True

    with pytest.raises(InputError, match='SAHI knows boxes and masks only'):
        sahi_model(Pose())
