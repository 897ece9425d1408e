import numpy as np

from rfdetr_runtime.skeletons import paint_skeletons


def test_dots_rings_and_lines():
    image = np.zeros((40, 60, 3), np.uint8)
    points = np.array([[[10, 10, 2], [30, 10, 1], [50, 30, 0]]], float)
    painted = paint_skeletons(image, points, [0], [[(0, 1), (0, 2)]])
    assert not image.any()
    assert painted[10, 10].any() and painted[10, 20].any()  # dot and line
    assert painted[10, 33].any()  # the ring
    assert not painted[30, 50].any() and not painted[20, 30].any()
    assert (paint_skeletons(image, points[:0], []) == 0).all()


def test_people_have_cocos_lines():
    """From the left ankle, number 15, to the left knee, number 13."""
    image = np.zeros((40, 60, 3), np.uint8)
    points = np.zeros((1, 17, 3))
    points[0, 15], points[0, 13] = (10, 10, 2), (30, 10, 2)
    assert paint_skeletons(image, points, [0])[10, 20].any()
    assert not paint_skeletons(image, points, [0], ())[10, 20].any()
    others = points[:, 1:]  # 16 keypoints, the same two among them
    assert not paint_skeletons(image, others, [0])[10, 20].any()
