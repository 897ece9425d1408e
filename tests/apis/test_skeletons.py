import numpy as np
from mmengine.config import Config
from PIL import Image

from rfdetr_mm.apis.dataset_grids import draw_samples
from rfdetr_mm.apis.skeletons import paint_skeletons
from tests.datasets.test_keypoint_reader import PERSON, build, content


def test_dots_rings_and_lines():
    image = np.zeros((40, 60, 3), np.uint8)
    points = np.array([[[10, 10, 2], [30, 10, 1], [50, 30, 0]]], float)
    painted = paint_skeletons(image, points, [0], [[(0, 1), (0, 2)]])
    assert not image.any()
    assert painted[10, 10].any() and painted[10, 20].any()  # dot and line
    assert painted[10, 33].any()  # the ring
    assert not painted[30, 50].any() and not painted[20, 30].any()
    assert (paint_skeletons(image, points[:0], []) == 0).all()


def test_grids_show_keypoints_where_they_are(tmp_path):
    """Also where they are loaded behind the resizing."""
    file = content(dict(PERSON, keypoints=[20, 10, 2, 0, 0, 0, 0, 0, 0]))
    build(tmp_path, file)
    for image in file['images']:
        Image.new('RGB', (60, 40)).save(tmp_path / image['file_name'])
    load = dict(type='LoadImageFromFile')
    resize = dict(type='RFDETRResize', scale=(120, 80))
    annotations = dict(type='LoadPoseAnnotations', with_bbox=True)
    pack = dict(type='PackPoseInputs')
    for pipeline in (
        [load, annotations, resize, pack],
        [load, resize, annotations, pack],
    ):
        dataset = dict(
            type='NamedCocoDataset',
            data_root=str(tmp_path),
            ann_file='file.json',
            data_prefix=dict(img=''),
            metainfo=dict(classes=('person', 'dot', 'wall')),
            pipeline=pipeline,
            filter_cfg=dict(filter_empty_gt=True),
        )
        cfg = Config(
            dict(
                train_dataloader=dict(dataset=dataset),
                model=dict(data_preprocessor=dict(bgr_to_rgb=True)),
            )
        )
        (picture,) = draw_samples(cfg, 'train', 1, 0)
        assert picture.shape == (80, 120, 3)
        red, green, _ = picture[20, 40].astype(int)
        assert red > green + 100
