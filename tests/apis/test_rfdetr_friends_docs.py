"""The examples of docs/ecosystem.md, where their packages are installed."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

supervision = pytest.importorskip('supervision')

from rfdetr_mm import apis  # noqa: E402

TEXT = Path(__file__).parents[2].joinpath('docs', 'ecosystem.md').read_text()
HW = (300, 420)


def picture(shift=0):
    """A red disc and a green square, RGB."""
    image = np.full((*HW, 3), 200, np.uint8)
    cv2.circle(image, (60 + shift, 60), 20, (255, 0, 0), -1)
    cv2.rectangle(image, (250, 180), (290, 220), (0, 200, 0), -1)
    return image


def example(heading):
    section = TEXT.partition(f'\n## {heading}\n')[2].partition('\n## ')[0]
    (block,) = re.findall(r'^```python\n(.*?)^```', section, re.M | re.S)
    return block


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run an example in a folder with a picture and a clip."""

    class RFDETRNano(apis.RFDETRTiny):
        """Without a download."""

        def __init__(self):
            super().__init__(device='cpu')

    monkeypatch.setattr(apis, 'RFDETRNano', RFDETRNano)
    monkeypatch.chdir(tmp_path)
    cv2.imwrite('street.jpg', picture()[:, :, ::-1])
    cv2.imwrite('other.jpg', picture(30)[:, :, ::-1])
    codec = cv2.VideoWriter_fourcc(*'mp4v')
    clip = cv2.VideoWriter('street.mp4', codec, 10, HW[::-1])
    for number in range(5):
        clip.write(picture(2 * number)[:, :, ::-1])
    clip.release()

    def run_example(heading):
        names = {}
        exec(example(heading), names)
        return names

    return run_example


def test_supervision(run):
    names = run('supervision')
    found, both, two = names['found'], names['both'], names['two']
    assert len(found) and set(found.data) == {'class_name', 'source_shape'}
    assert np.array_equal(found.metadata['source_image'], names['image'])
    assert len(both) == len(two[0]) + len(two[1]) > len(two[0]) > 0
    assert set(both.data) == {'class_name', 'source_shape'}


def test_merging_needs_results_without_images(run):
    """As the page says; where supervision changes this, the page must."""
    model = run('supervision')['model']
    with pytest.raises(ValueError, match='source_image'):
        supervision.Detections.merge(model.predict([picture(), picture(30)]))


def test_sahi(run):
    pytest.importorskip('sahi')
    names = run('SAHI')
    objects = names['result'].object_prediction_list
    assert objects
    known = set(names['model'].model.class_names)
    assert {found.category.name for found in objects} <= known


def test_trackers(run):
    pytest.importorskip('trackers')
    names = run('trackers')
    assert set(names['tracked'].data) == {'class_name', 'source_shape'}
    assert names['tracked'].tracker_id.max() >= 0


def test_label_studio(run):
    names = run('Label Studio')
    (task,) = json.loads(Path('tasks.json').read_text())
    assert task == names['task'] and task['predictions'][0]['result']
    pytest.importorskip('label_studio_sdk')
    from label_studio_sdk.label_interface import LabelInterface

    interface = LabelInterface(names['interface'])
    interface.validate()
    assert interface.validate_task(dict(data=task['data']))
    assert not interface.validate_prediction(
        task['predictions'][0], return_errors=True
    )


def test_fiftyone(run):
    pytest.importorskip('fiftyone')
    names = run('FiftyOne')
    labels = names['sample']['rfdetr'].detections
    assert len(labels) == len(names['found']) > 0


def test_every_friend_has_a_test():
    headings = re.findall(r'^## (.*)$', TEXT, re.M)
    here = Path(__file__).read_text()
    for heading in headings:
        section = TEXT.partition(f'\n## {heading}\n')[2].partition('\n## ')[0]
        if '```python' in section:
            assert f"run('{heading}')" in here, heading
