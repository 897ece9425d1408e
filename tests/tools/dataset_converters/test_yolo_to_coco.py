"""The written files hold what the YOLO layout says, for stock CocoDataset."""

from pathlib import Path

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from pycocotools.coco import COCO

from rfdetr_mm.datasets import YoloDataset
from rfdetr_mm.datasets.layouts import detect_layout
from tests.data_factory import CLASSES, write_layout
from tests.tools.test_own_data import load_tool

NAMES = CLASSES[::-1]  # of data.yaml


@pytest.fixture(scope='module')
def tool():
    return load_tool('dataset_converters/yolo_to_coco')


@pytest.fixture
def root(tmp_path):
    return write_layout(tmp_path / 'my set', 'yolo')


def instances(dataset):
    """By image file: sorted boxes and labels."""
    found = {}
    for i in range(len(dataset)):
        data = dataset.get_data_info(i)
        rows = [[*x['bbox'], x['bbox_label']] for x in data['instances']]
        found[Path(data['img_path']).resolve()] = np.array(sorted(rows))
    return found


def test_stock_data_sets_read_the_same(tool, root, capsys):
    assert tool.main([str(root / 'data.yaml')]) == 0
    assert 'wrote' in capsys.readouterr().out
    # The folder is read as before.
    assert detect_layout(str(root))[0] == 'yolo'
    for split in ('train', 'val', 'test'):
        theirs = CocoDataset(
            data_root=str(root),
            ann_file=f'coco/instances_{split}.json',
            data_prefix=dict(img=''),
            metainfo=dict(classes=NAMES),
            test_mode=True,
        )
        ours = YoloDataset(
            data_root=str(root),
            ann_file='data.yaml',
            split=split,
            test_mode=True,
        )
        expected, found = instances(ours), instances(theirs)
        assert len(expected) == 3 and found.keys() == expected.keys()
        for path, rows in expected.items():
            assert path.is_file()
            np.testing.assert_allclose(found[path], rows, atol=1e-6)


def test_outlines_are_masks(tool, root, tmp_path):
    (label,) = (root / 'train' / 'labels').glob('* 1.txt')
    label.write_text('1 .2 .2 .8 .2 .8 .6\n0 .5 .5 .2 .4\n')
    assert (
        tool.main([str(root / 'data.yaml'), '--out-dir', f'{tmp_path}/o']) == 0
    )
    coco = COCO(str(tmp_path / 'o' / 'instances_train.json'))
    (image,) = [
        i for i in coco.loadImgs(coco.getImgIds()) if ' 1.' in i['file_name']
    ]
    outline, box = coco.loadAnns(coco.getAnnIds(image['id']))
    corners = np.array([0.2, 0.2, 0.8, 0.2, 0.8, 0.6]).reshape(-1, 2)
    corners *= image['width'], image['height']
    np.testing.assert_allclose(outline['segmentation'], [corners.ravel()])
    triangle_px = 0.5 * 0.6 * image['width'] * 0.4 * image['height']
    assert outline['area'] == pytest.approx(triangle_px)
    assert 'segmentation' not in box
    names = [coco.cats[a['category_id']]['name'] for a in (outline, box)]
    assert names == [NAMES[1], NAMES[0]]


@pytest.mark.parametrize(
    'text, message',
    [
        (None, 'cannot be read as YAML'),
        ('names: [a]', 'names no images that are there'),
        ('names: []', 'no class names'),
    ],
)
def test_one_line_for_what_is_wrong(tool, tmp_path, capsys, text, message):
    path = tmp_path / 'data.yaml'
    if text is not None:
        path.write_text(text)
    assert tool.main([str(path)]) == 1
    errors = capsys.readouterr().err
    assert errors.count('\n') == 1 and message in errors
    assert not (tmp_path / 'coco').exists()


def test_a_broken_split_leaves_no_file(tool, root):
    (label,) = (root / 'valid' / 'labels').glob('* 1.txt')
    label.write_text('7 .5 .5 .2 .2')
    assert tool.main([str(root / 'data.yaml')]) == 1
    assert not (root / 'coco').exists()
