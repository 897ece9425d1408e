import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from demo.contact_sheet import ENLARGED, GAP, HEADING, write_contact_sheet

HEIGHT, WIDTH = 20, 30
CLASSES = ('disc', 'square')
TOP = HEADING + 2 * GAP  # px, of the first row


@pytest.fixture
def files(tmp_path):
    """Three grey images; truth and one weak, one strong detection in each."""
    (tmp_path / 'images').mkdir()
    images, annotations, found = [], [], []
    for key in (1, 2, 3):
        name = f'{key}.png'
        pixels = np.full((HEIGHT, WIDTH, 3), 128, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / 'images' / name)
        images.append(dict(id=key, file_name=name))
        if key != 2:  # an image without objects
            annotations.append(
                dict(image_id=key, category_id=7, bbox=[5, 5, 10, 10])
            )
        found.append(
            dict(
                img_id=key,
                pred_instances=dict(
                    scores=torch.tensor([0.9, 0.1]),
                    labels=torch.tensor([1, 0]),
                    bboxes=torch.tensor(
                        [[18.0, 5.0, 28.0, 15.0], [0.0, 0.0, 4.0, 14.0]]
                    ),
                ),
            )
        )
    categories = [dict(id=7, name='disc'), dict(id=9, name='square')]
    content = dict(
        images=images, annotations=annotations, categories=categories
    )
    (tmp_path / 'test.json').write_text(json.dumps(content))
    # The order of the predictions is not that of the file.
    (tmp_path / 'found.pkl').write_bytes(pickle.dumps(found[::-1]))
    return tmp_path


def painted(sheet, row, column, side):
    """One enlarged picture of the sheet, as (H, W, 3)."""
    height, width = HEIGHT * ENLARGED, WIDTH * ENLARGED
    left = GAP + column * (2 * width + 2 * GAP)
    left += (width + GAP // 2) if side == 'detections' else 0
    top = TOP + row * (height + GAP)
    return sheet[top : top + height, left : left + width]


def is_painted(picture, x, y):
    """Whether a box' line runs through a pixel of the original image."""
    spot = picture[y * ENLARGED, x * ENLARGED]
    return bool((spot != 128).any())


def test_truth_left_and_detections_right(files):
    target = files / 'sheet.png'
    write_contact_sheet(files / 'test.json', files / 'found.pkl', target)
    sheet = np.asarray(Image.open(target))
    height, width = HEIGHT * ENLARGED, WIDTH * ENLARGED
    rows, columns = 3, 1
    assert sheet.shape == (
        rows * (height + GAP) + TOP,
        columns * (2 * width + 2 * GAP) + GAP,
        3,
    )
    for row, has_truth in enumerate((True, False, True)):
        truth = painted(sheet, row, 0, 'truth')
        assert is_painted(truth, 5, 12) is has_truth
        assert not is_painted(truth, 18, 12)
        detections = painted(sheet, row, 0, 'detections')
        assert is_painted(detections, 18, 12)
        assert not is_painted(detections, 5, 12)
        assert not is_painted(detections, 0, 2)  # below the threshold


def test_each_side_has_a_heading_once(files):
    target = files / 'sheet.png'
    write_contact_sheet(files / 'test.json', files / 'found.pkl', target)
    sheet = np.asarray(Image.open(target))
    is_black = (sheet < 50).all(axis=2)
    width, height = WIDTH * ENLARGED, HEIGHT * ENLARGED
    middle = GAP + width + GAP // 4
    heading = is_black[:TOP]
    truth, detections = heading[:, :middle].sum(), heading[:, middle:].sum()
    assert 50 < truth < detections  # the longer word
    assert (sheet[TOP + height : TOP + height + GAP] == 255).all()


def test_number_of_images_and_threshold(files):
    target = files / 'sheet.png'
    write_contact_sheet(
        files / 'test.json', files / 'found.pkl', target, 1, 0.05
    )
    sheet = np.asarray(Image.open(target))
    assert sheet.shape[0] == HEIGHT * ENLARGED + GAP + TOP
    assert is_painted(painted(sheet, 0, 0, 'detections'), 0, 2)


def test_a_class_has_one_colour_on_both_sides(files):
    target = files / 'sheet.png'
    write_contact_sheet(
        files / 'test.json', files / 'found.pkl', target, 1, 0.05
    )
    sheet = np.asarray(Image.open(target))
    detections = painted(sheet, 0, 0, 'detections')
    disc, square = (
        detections[ENLARGED * y, ENLARGED * x] for x, y in ((0, 12), (18, 12))
    )
    truth = painted(sheet, 0, 0, 'truth')[ENLARGED * 12, ENLARGED * 5]
    assert (disc == truth).all() and (disc != square).any()


def rectangle(x1, y1, x2, y2):
    """Run-length encoding of a filled rectangle."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order='F')
    mask[y1:y2, x1:x2] = 1
    return coco_mask.encode(mask)


def test_masks_are_painted_on_both_sides(files):
    content = json.loads((files / 'test.json').read_text())
    for annotation in content['annotations']:
        rle = rectangle(5, 5, 15, 10)  # the upper half of the box
        annotation['segmentation'] = dict(
            size=rle['size'], counts=rle['counts'].decode()
        )
    (files / 'test.json').write_text(json.dumps(content))
    found = pickle.loads((files / 'found.pkl').read_bytes())
    for sample in found:
        sample['pred_instances']['masks'] = [
            rectangle(18, 5, 28, 10),
            rectangle(0, 0, 4, 4),
        ]
    (files / 'found.pkl').write_bytes(pickle.dumps(found))
    target = files / 'sheet.png'
    write_contact_sheet(files / 'test.json', files / 'found.pkl', target)
    sheet = np.asarray(Image.open(target))
    truth = painted(sheet, 0, 0, 'truth')
    assert is_painted(truth, 10, 9) and not is_painted(truth, 10, 12)
    without_objects = painted(sheet, 1, 0, 'truth')
    assert (without_objects == 128).all()
    detections = painted(sheet, 0, 0, 'detections')
    assert is_painted(detections, 24, 9)
    assert not is_painted(detections, 24, 12)
    assert not is_painted(detections, 2, 2)  # below the threshold


def test_skeletons_beside_those_of_the_truth(files, tmp_path):
    """A ring where the truth is hidden; likely keypoints of detections."""
    content = json.loads((files / 'test.json').read_text())
    content['categories'][0].update(skeleton=[[1, 2]])
    for annotation in content['annotations']:
        annotation['keypoints'] = [6, 6, 2, 13, 6, 1]
    (files / 'test.json').write_text(json.dumps(content))
    found = pickle.loads((files / 'found.pkl').read_bytes())
    for sample in found:
        points = torch.tensor([[[20.0, 7], [26, 13]]]).repeat(2, 1, 1)
        sample['pred_instances'].update(
            keypoints=points,
            keypoint_scores=torch.tensor([[0.9, 0.2]]).repeat(2, 1),
        )
    (files / 'found.pkl').write_bytes(pickle.dumps(found))
    target = tmp_path / 'sheet.png'
    write_contact_sheet(files / 'test.json', files / 'found.pkl', target)
    sheet = np.asarray(Image.open(target))
    truth = painted(sheet, 0, 0, 'truth')
    grey = [128, 128, 128]
    assert truth[6 * ENLARGED, 6 * ENLARGED].tolist() != grey
    assert truth[6 * ENLARGED, 10 * ENLARGED].tolist() == [255] * 3  # line
    detected = painted(sheet, 0, 0, 'detections')
    assert detected[7 * ENLARGED, 20 * ENLARGED].tolist() != grey
    assert detected[13 * ENLARGED, 26 * ENLARGED].tolist() == grey
