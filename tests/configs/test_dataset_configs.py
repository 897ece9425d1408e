"""Configs for the layouts that are not COCO's."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mmdet.registry import DATASETS, METRICS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from PIL import Image

ROOT = Path(__file__).parents[2] / 'configs/rfdetr'
SIZES = [(40, 80), (60, 30), (50, 50), (70, 90)]  # (h, w)
EMPTY = 2
BOXES = [  # (class, x1, y1, x2, y2) in pixels, none near the border
    [(0, 10, 5, 30, 35), (1, 40, 10, 70, 30)],
    [(1, 4, 6, 24, 46)],
    [],
    [(0, 20, 20, 60, 60), (0, 2, 2, 12, 12), (1, 64, 30, 84, 66)],
]


@pytest.fixture(autouse=True, scope='module')
def mmdet_scope():
    """Look names up in mmdet's registries, as a Runner does."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def write_images(folder: Path, suffix: str) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number, (h, w) in enumerate(SIZES):
        noise = rng.integers(0, 255, (h, w, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f'{number}{suffix}')


def write_yolo(root: Path, classes: tuple[str, ...]) -> None:
    for split in ('train', 'val'):
        write_images(root / 'images' / split, '.png')
        (root / 'labels' / split).mkdir(parents=True)
        for number, (boxes, (h, w)) in enumerate(zip(BOXES, SIZES)):
            lines = [
                f'{label} {(x1 + x2) / 2 / w} {(y1 + y2) / 2 / h} '
                f'{(x2 - x1) / w} {(y2 - y1) / h}'
                for label, x1, y1, x2, y2 in boxes
            ]
            file = root / 'labels' / split / f'{number}.txt'
            file.write_text('\n'.join(lines))
    content = dict(names=list(classes), train='images/train', val='images/val')
    (root / 'data.yaml').write_text(yaml.safe_dump(content))


def write_voc(root: Path, classes: tuple[str, ...]) -> None:
    root = root / 'VOC2007'
    write_images(root / 'JPEGImages', '.jpg')
    (root / 'Annotations').mkdir()
    (root / 'ImageSets/Main').mkdir(parents=True)
    for split in ('trainval', 'test'):
        names = ''.join(f'{i}\n' for i in range(len(SIZES)))
        (root / f'ImageSets/Main/{split}.txt').write_text(names)
    for number, (boxes, (h, w)) in enumerate(zip(BOXES, SIZES)):
        tree = ET.Element('annotation')
        size = ET.SubElement(tree, 'size')
        ET.SubElement(size, 'width').text = str(w)
        ET.SubElement(size, 'height').text = str(h)
        for label, *box in boxes:
            item = ET.SubElement(tree, 'object')
            ET.SubElement(item, 'name').text = classes[label]
            ET.SubElement(item, 'difficult').text = '0'
            corners = ET.SubElement(item, 'bndbox')
            for key, value in zip(('xmin', 'ymin', 'xmax', 'ymax'), box):
                # VOC counts pixels from 1.
                ET.SubElement(corners, key).text = str(value + 1)
        ET.ElementTree(tree).write(root / f'Annotations/{number}.xml')


LAYOUTS = {
    'yolo': (write_yolo, ('helmet', 'vest')),
    'voc': (write_voc, ('aeroplane', 'bicycle')),
}


@pytest.fixture(params=list(LAYOUTS))
def config(request, tmp_path) -> Config:
    write, classes = LAYOUTS[request.param]
    write(tmp_path / 'data', classes)
    cfg = Config.fromfile(ROOT / f'rfdetr_nano_{request.param}.py')
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.data_root = str(tmp_path / 'data')
    return cfg


def as_drawn(instances: list[dict]) -> list[tuple]:
    return sorted(
        (one['bbox_label'], *(round(v, 3) for v in one['bbox']))
        for one in instances
    )


def test_boxes_are_read(config):
    for loader in (config.train_dataloader, config.val_dataloader):
        dataset = DATASETS.build(loader.dataset)
        assert len(dataset.metainfo['classes']) == (
            config.model.bbox_head.num_classes
        )
        assert len(dataset) == len(SIZES)  # images without objects stay
        for i, (boxes, (h, w)) in enumerate(zip(BOXES, SIZES)):
            info = dataset.get_data_info(i)
            assert (info['height'], info['width']) == (h, w)
            assert as_drawn(info['instances']) == sorted(boxes)
    assert not hasattr(config.train_dataloader.dataset, 'test_mode')


def test_pipelines_run(config):
    train = DATASETS.build(config.train_dataloader.dataset)
    for i in range(len(SIZES)):
        sample = train[i]['data_samples']
        assert sample.img_shape[0] == sample.img_shape[1]
    assert len(train[EMPTY]['data_samples'].gt_instances) == 0


def evaluate(config: Config, shift: float) -> dict[str, float]:
    """AP of the true boxes, moved to the right by a part of their width."""
    dataset = DATASETS.build(config.val_dataloader.dataset)
    metric = METRICS.build(config.val_evaluator)
    metric.dataset_meta = dataset.metainfo
    for i, boxes in enumerate(BOXES):
        sample = dataset[i]['data_samples']
        bboxes = (
            torch.tensor([box[1:] for box in boxes]).reshape(-1, 4).float()
        )
        widths = bboxes[:, 2] - bboxes[:, 0]
        bboxes[:, 0::2] += shift * widths[:, None]
        sample.pred_instances = InstanceData(
            bboxes=bboxes,
            labels=torch.tensor([box[0] for box in boxes], dtype=torch.long),
            scores=torch.ones(len(boxes)),
        )
        metric.process({}, [sample.to_dict()])
    return metric.evaluate(len(BOXES))


def test_metric_needs_no_annotation_file(config):
    assert evaluate(config, 0.0)['coco/bbox_mAP'] == 1.0
    # IoU 0.9 / 1.1 = 0.82: right for 7 of the 10 thresholds.
    assert evaluate(config, 0.1)['coco/bbox_mAP'] == pytest.approx(0.7)
    assert evaluate(config, 0.9)['coco/bbox_mAP_50'] == 0.0


def test_objects365(tmp_path):
    cfg = Config.fromfile(ROOT / 'rfdetr_nano_objects365.py')
    classes = DATASETS.get('Objects365V2Dataset').METAINFO['classes']
    assert cfg.model.bbox_head.num_classes == len(classes) == 365
    names = 'images/v1/patch8/objects365_v1_00000001.jpg'
    content = dict(
        images=[dict(id=5, file_name=names, height=40, width=80)],
        annotations=[
            dict(
                id=1,
                image_id=5,
                category_id=365,
                bbox=[5, 6, 20, 10],
                area=200,
                iscrowd=0,
            )
        ],
        categories=[
            dict(id=i, name=name) for i, name in enumerate(classes, start=1)
        ],
    )
    for split, loader in (
        ('train', cfg.train_dataloader),
        ('val', cfg.val_dataloader),
    ):
        file = tmp_path / f'annotations/zhiyuan_objv2_{split}.json'
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content))
        assert loader.dataset.ann_file == f'annotations/{file.name}'
        loader.dataset.data_root = str(tmp_path)
        dataset = DATASETS.build(loader.dataset)
        (instance,) = dataset.get_data_info(0)['instances']
        assert (instance['bbox_label'], instance['bbox']) == (
            364,
            [5, 6, 25, 16],
        )
    assert cfg.val_evaluator.ann_file.endswith('zhiyuan_objv2_val.json')
