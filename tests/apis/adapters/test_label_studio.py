"""Tasks for Label Studio, without Label Studio."""

import numpy as np
import pytest

supervision = pytest.importorskip('supervision')

from rfdetr_mm.apis.adapters.label_studio import (  # noqa: E402
    label_studio_task,
    labeling_config,
)
from rfdetr_mm.errors import InputError  # noqa: E402

HW = (100, 200)
NAME = 'cat & "dog"'


def found(masks=None, number=1):
    return supervision.Detections(
        xyxy=np.array([[20, 10, 60, 30.0]] * number).reshape(-1, 4),
        mask=masks,
        confidence=np.full(number, 0.25),
        class_id=np.zeros(number, int),
        data=dict(
            class_name=np.array([NAME] * number, dtype=object),
            source_shape=np.array([HW] * number).reshape(-1, 2),
        ),
    )


def results(task):
    (prediction,) = task['predictions']
    return prediction['result']


def test_a_box():
    task = label_studio_task(found(), '/data/a.jpg')
    assert task['data'] == {'image': '/data/a.jpg'}
    (region,) = results(task)
    assert region['value'].pop('rectanglelabels') == [NAME]
    assert region['value'] == pytest.approx(
        dict(x=10, y=10, width=20, height=20, rotation=0)
    )
    assert (region['original_height'], region['original_width']) == HW
    assert task['predictions'][0]['score'] == region['score'] == 0.25


def test_masks_are_polygons_of_their_parts():
    mask = np.zeros((1, *HW), bool)
    mask[0, 10:21, 20:61] = True
    mask[0, 50:61, 100:111] = True
    mask[0, 14:16, 30:40] = False  # a hole
    mask[0, 90, 0] = True  # no outline
    task = label_studio_task(found(mask), '/data/a.jpg')
    regions = results(task)
    assert len({region['id'] for region in regions}) == len(regions) == 2
    corners = sorted(
        np.array(region['value']['points']).min(0).tolist()
        + np.array(region['value']['points']).max(0).tolist()
        for region in regions
    )
    np.testing.assert_allclose(corners, [[10, 10, 30, 20], [50, 50, 55, 60]])
    assert {region['type'] for region in regions} == {'polygonlabels'}


def test_nothing_found():
    task = label_studio_task(found(number=0), '/data/a.jpg')
    assert results(task) == [] and 'score' not in task['predictions'][0]


def test_the_size_of_the_image():
    bare = found()
    del bare.data['source_shape']
    with pytest.raises(InputError, match=r'image_hw=\(height, width\)'):
        label_studio_task(bare, '/data/a.jpg')
    bare.metadata['source_image'] = np.zeros((*HW, 3), np.uint8)
    expected = results(label_studio_task(found(), '/data/a.jpg'))
    assert results(label_studio_task(bare, '/data/a.jpg')) == expected
    assert results(label_studio_task(bare, '/', image_hw=HW)) == expected


@pytest.mark.parametrize('masks', [False, True])
def test_the_interface(masks):
    text = labeling_config([NAME, 'cow'], masks)
    assert text.count('<Label ') == (4 if masks else 2)
    pytest.importorskip('label_studio_sdk')
    from label_studio_sdk.label_interface import LabelInterface

    interface = LabelInterface(text)
    interface.validate()
    mask = np.zeros((1, *HW), bool)
    mask[0, 10:21, 20:61] = True
    task = label_studio_task(found(mask if masks else None), '/data/a.jpg')
    assert interface.validate_task(dict(data=task['data']))
    errors = interface.validate_prediction(
        task['predictions'][0], return_errors=True
    )
    assert not errors
