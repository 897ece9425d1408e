import sys

import numpy as np
import pytest
from PIL import Image, ImageColor

from rfdetr_mm_light.class_rows import COCO_CATEGORY_IDS, COCO_CLASSES
from rfdetr_runtime import Detections, InputError
from rfdetr_runtime.detection_files import (
    as_detections,
    paint,
    to_coco,
    to_record,
)
from rfdetr_runtime.skeletons import COLOURS

supervision = pytest.importorskip('supervision')
HW = (40, 60)


def detections(labels, names, with_masks=False):
    count = len(labels)
    corners = np.arange(count)[:, None] * 10 + np.array([1, 2, 9, 10])
    masks = np.zeros((count, *HW), bool)
    masks[:, 5:9, 5:10] = True
    found = supervision.Detections(
        xyxy=corners.astype(np.float32).reshape(-1, 4),
        confidence=np.linspace(0.9, 0.5, count).astype(np.float32),
        class_id=np.array(labels, dtype=int),
        mask=masks if with_masks else None,
    )
    found.data['class_name'] = np.array([names[i] for i in labels], object)
    found.metadata['source_image'] = np.full((*HW, 3), 128, np.uint8)
    return found


def test_masks_are_runs_and_their_area_counts():
    record = to_record('a.png', detections([1, 0], ('x', 'y'), True))
    segmentation = record['detections'][0]['segmentation']
    assert segmentation['size'] == list(HW)
    coco = to_coco([record], ('x', 'y'))
    assert [ann['area'] for ann in coco['annotations']] == [20, 20]
    assert coco['annotations'][0]['segmentation'] == segmentation
    assert [ann['category_id'] for ann in coco['annotations']] == [2, 1]


def test_ids_of_cocos_classes_are_cocos():
    record = to_record('a.png', detections([0, 79], COCO_CLASSES))
    coco = to_coco([record, record], COCO_CLASSES)
    assert [ann['category_id'] for ann in coco['annotations']] == [1, 90] * 2
    assert [ann['image_id'] for ann in coco['annotations']] == [1, 1, 2, 2]
    assert [ann['id'] for ann in coco['annotations']] == [1, 2, 3, 4]
    assert [c['id'] for c in coco['categories']] == list(COCO_CATEGORY_IDS)


@pytest.mark.parametrize('with_masks', [False, True])
def test_painting(with_masks):
    found = detections([0, 1], ('x', 'y'), with_masks)
    picture = np.asarray(paint(found))
    assert picture.shape == (*HW, 3)
    assert (picture != 128).any()
    assert (found.metadata['source_image'] == 128).all()  # untouched
    assert ((picture[6, 7] != 128).any()) == with_masks or not with_masks
    nothing = detections([], ('x',), with_masks)
    assert (np.asarray(paint(nothing)) == 128).all()


def test_arrays_are_painted_as_supervisions(monkeypatch):
    theirs = detections([0, 1], ('x', 'y'), True)
    fields = ('xyxy', 'confidence', 'class_id', 'mask', 'data', 'metadata')
    ours = Detections(**{name: getattr(theirs, name) for name in fields})
    assert (np.asarray(paint(ours)) == np.asarray(paint(theirs))).all()
    assert to_record('a', ours) == to_record('a', theirs)
    monkeypatch.setitem(sys.modules, 'supervision', None)
    with pytest.raises(InputError, match='pip install supervision'):
        ours.to_supervision()


@pytest.mark.parametrize('with_masks', [False, True])
def test_painting_without_supervision(monkeypatch, with_masks):
    monkeypatch.setitem(sys.modules, 'supervision', None)
    test_painting(with_masks)


def key_points(count):
    """Of classes with 3 and 1 keypoints, as predict() gives them."""
    image = np.full((40, 60, 3), 128, np.uint8)
    confidence = np.array([[0.9, 0.2, 0.6], [0.7, 0.0, 0.0]])[:count]
    xy = np.array([[[10, 12], [20, 8], [30, 30]], [[40, 20], [0, 0], [0, 0]]])
    return supervision.KeyPoints(
        xy=xy[:count].astype(np.float32),
        keypoint_confidence=confidence,
        detection_confidence=np.array([0.8, 0.6])[:count],
        class_id=np.array([0, 1])[:count],
        visible=confidence > 0,
        data=dict(
            class_name=np.array(['fish', 'dot'], object)[:count],
            xyxy=np.array([[5, 5, 35, 35], [38, 18, 42, 22]], np.float32)[
                :count
            ],
            source_image=[image] * count,
        ),
    )


def test_keypoints_as_records_coco_and_picture():
    found = as_detections('a.png', key_points(2))
    record = to_record('a.png', found)
    fish, dot = record['detections']
    assert fish['keypoints_xy_px_score'] == [
        [10, 12, 0.9],
        [20, 8, 0.2],
        [30, 30, 0.6],
    ]
    assert dot['keypoints_xy_px_score'] == [[40, 20, 0.7]]
    annotations = to_coco([record], ['fish', 'dot'])['annotations']
    assert annotations[0]['keypoints'] == [10, 12, 2, 20, 8, 1, 30, 30, 2]
    assert [a['num_keypoints'] for a in annotations] == [3, 1]
    picture = np.asarray(paint(found))
    colours = [ImageColor.getrgb(colour) for colour in COLOURS]
    assert (picture[30, 30] == colours[2]).all()
    assert (picture[8, 20] != colours[1]).any()


def test_an_image_without_keypoints_is_read_again(tmp_path):
    Image.new('RGB', (60, 40)).save(tmp_path / 'a.png')
    path = str(tmp_path / 'a.png')
    record = to_record(path, as_detections(path, key_points(0)))
    assert (record['height'], record['width']) == (40, 60)
    assert record['detections'] == []
