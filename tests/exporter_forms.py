"""One small data set in the forms that labelling tools write.

Two images with three boxes, for training and again for validation. Keys,
numbering and places are those that the tools wrote when they were tried, in
the versions that the functions name; the content is drawn here.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

NAMES = ('disc', 'square')
SIZES_HW = {'1.png': (40, 60), '2.png': (60, 40)}
# Image, class and (x, y, w, h) in pixels.
OBJECTS = (
    ('1.png', 0, (5, 6, 20, 10)),
    ('1.png', 1, (30, 10, 12, 20)),
    ('2.png', 1, (4, 8, 16, 24)),
)
Entry = dict[str, Any]


def corners(bbox: Sequence[float]) -> list[float]:
    """The outline of a box as a polygon, x1, y1, x2, y2, ..."""
    x, y, w, h = bbox
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def write_images(folder: Path) -> None:
    """Draw both images."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (height, width) in SIZES_HW.items():
        pixels = np.full((height, width, 3), 90, np.uint8)
        for image, label, (x, y, w, h) in OBJECTS:
            if image == name:
                pixels[y : y + h, x : x + w] = 200 - 60 * label
        Image.fromarray(pixels).save(folder / name)


def coco(
    image: Callable[[Entry, str], Entry] = lambda entry, name: entry,
    annotation: Callable[[Entry], Entry] = lambda entry: entry,
    category: Callable[[Entry], Entry] = lambda entry: entry,
    category_ids: Sequence[int] = (1, 3),
    first_id: int = 1,
    objects: Sequence = OBJECTS,
    **others: Any,
) -> Entry:
    """A COCO file whose entries an exporter's functions complete.

    Args:
        image: Gets ``id``, ``file_name``, ``height``, ``width``, and the name.
        annotation: Gets ``id``, ``image_id``, ``category_id`` and ``bbox``.
        category: Gets ``id`` and ``name``.
        category_ids: Of the classes.
        first_id: Of images and annotations.
        objects: As ``OBJECTS``.
        **others: Beside the three lists.
    """
    ids = {name: first_id + i for i, name in enumerate(SIZES_HW)}
    images = [
        image(dict(id=ids[name], file_name=name, height=h, width=w), name)
        for name, (h, w) in SIZES_HW.items()
    ]
    annotations = [
        annotation(
            dict(
                id=first_id + number,
                image_id=ids[name],
                category_id=category_ids[label],
                bbox=list(bbox),
            )
        )
        for number, (name, label, bbox) in enumerate(objects)
    ]
    categories = [
        category(dict(id=i, name=n)) for i, n in zip(category_ids, NAMES)
    ]
    return dict(
        others,
        images=images,
        annotations=annotations,
        categories=categories,
    )


def without(entry: Entry, *keys: str, **more: Any) -> Entry:
    """An entry without some keys, and with others."""
    kept = {key: value for key, value in entry.items() if key not in keys}
    return {**kept, **more}


def with_area(entry: Entry, **more: Any) -> Entry:
    """An annotation with the area of its box, and with other keys."""
    _, _, w, h = entry['bbox']
    return dict(entry, area=w * h, **more)


def write_flat(root: Path, content: Entry) -> None:
    """The file as train.json and val.json, images in a folder."""
    write_images(root / 'images')
    for split in ('train', 'val'):
        (root / f'{split}.json').write_text(json.dumps(content))


def supervision(root: Path) -> None:
    """supervision 0.31.2, ``DetectionDataset.as_coco``, with masks."""

    def image(entry: Entry, name: str) -> Entry:
        return dict(entry, license=1, date_captured='11/30/2026,10:18:40')

    def annotation(entry: Entry) -> Entry:
        outline = corners(entry['bbox'])
        box = [float(value) for value in entry['bbox']]
        return with_area(
            dict(entry, bbox=box), segmentation=[outline], iscrowd=0
        )

    content = coco(
        image,
        annotation,
        lambda entry: dict(entry, supercategory='common-objects'),
        category_ids=(1, 2),
        info={},
        licenses=[dict(id=1, url='', name='CC BY 4.0')],
    )
    write_flat(root, content)


def globox(root: Path) -> None:
    """globox 2.9.0, ``save_coco``: ids from 0, an empty segmentation."""

    def annotation(entry: Entry) -> Entry:
        more = dict(iscrowd=0, ignore=0, segmentation=[])
        return with_area(dict(entry, id=entry['id'] - 1), **more)

    content = coco(
        annotation=annotation,
        category=lambda entry: dict(entry, supercategory='none'),
    )
    write_flat(root, content)


def datumaro(root: Path) -> None:
    """datumaro 1.13.12, ``coco_instances``: images/train, empty licence."""

    def image(entry: Entry, name: str) -> Entry:
        more = dict(license=0, flickr_url='', coco_url='', date_captured=0)
        return dict(entry, **more)

    content = coco(
        image,
        lambda entry: with_area(entry, segmentation=[], iscrowd=0),
        lambda entry: dict(entry, supercategory=''),
        category_ids=(1, 2),
        licenses=[dict(name='', id=0, url='')],
        info=dict(contributor='', date_created='', year=''),
    )
    (root / 'annotations').mkdir(parents=True)
    for split in ('train', 'val'):
        write_images(root / 'images' / split)
        path = root / 'annotations' / f'instances_{split}.json'
        path.write_text(json.dumps(content))


def pylabel(root: Path) -> None:
    """pylabel 0.1.55, ``ExportToCoco``: null in what it does not know."""

    def image(entry: Entry, name: str) -> Entry:
        return dict(entry, folder='/home/me/images', path=None, depth=None)

    def annotation(entry: Entry) -> Entry:
        keys = ('segmented', 'pose', 'truncated', 'difficult')
        more = dict.fromkeys(keys, None)
        outline = corners(entry['bbox'])
        entry = dict(entry, id=entry['id'] - 1, **more)
        return with_area(entry, segmentation=[outline], iscrowd=0)

    content = coco(
        image,
        annotation,
        lambda entry: dict(entry, supercategory=''),
    )
    write_flat(root, content)


def sahi(root: Path) -> None:
    """sahi 0.12.8, ``Coco.json``: every class its own supercategory."""
    content = coco(
        annotation=lambda entry: with_area(entry, iscrowd=0, segmentation=[]),
        category=lambda entry: dict(entry, supercategory=entry['name']),
    )
    write_flat(root, content)


def label_studio(root: Path) -> None:
    """label-studio-sdk 2.1.2: absolute names, ids from 0, null sizes."""

    def image(entry: Entry, name: str) -> Entry:
        size = dict(width=None, height=None) if name == '2.png' else {}
        return dict(
            entry, file_name=str((root / 'images' / name).absolute()), **size
        )

    content = coco(
        image,
        lambda entry: with_area(entry, ignore=0, iscrowd=0, segmentation=[]),
        category_ids=(0, 1),
        first_id=0,
        info=dict(year=2026, contributor='Label Studio'),
    )
    write_flat(root, content)


def labelformat(root: Path) -> None:
    """labelformat 0.1.17, ``COCOObjectDetectionOutput``: no ids at all."""
    write_flat(root, coco(annotation=lambda entry: without(entry, 'id')))


def labelformat_masks(root: Path) -> None:
    """labelformat 0.1.17, instance segmentation: iscrowd false."""

    def annotation(entry: Entry) -> Entry:
        outline = [float(value) for value in corners(entry['bbox'])]
        return without(entry, 'id', iscrowd=False, segmentation=[outline])

    write_flat(root, coco(annotation=annotation))


def coco_lib(root: Path) -> None:
    """coco-lib 0.3.0, ``ObjectDetectionDataset.save``."""

    def image(entry: Entry, name: str) -> Entry:
        return dict(
            entry, license=None, flickr_url='', date_captured='2024-01-02'
        )

    def annotation(entry: Entry) -> Entry:
        outline = [float(value) for value in corners(entry['bbox'])]
        return dict(entry, segmentation=[outline], area=None, iscrowd=None)

    content = coco(
        image,
        annotation,
        lambda entry: dict(entry, supercategory=None),
        info=dict(year=None, version=None),
        licenses=[],
    )
    write_flat(root, content)


def imantics(root: Path) -> None:
    """imantics 0.1.12, ``Dataset.coco``: the drawn area is another one."""

    def image(entry: Entry, name: str) -> Entry:
        more = dict(license=None, fickr_url=None, metadata={})
        return dict(entry, path=f'/home/me/{name}', **more)

    def annotation(entry: Entry) -> Entry:
        _, _, w, h = entry['bbox']
        more = dict(width=60, height=40, metadata={}, color='#a6af20')
        return dict(
            entry,
            area=(w + 1) * (h + 1),
            segmentation=[corners(entry['bbox'])],
            iscrowd=0,
            isbbox=False,
            **more,
        )

    content = coco(
        image,
        annotation,
        lambda entry: dict(entry, supercategory=None, metadata={}),
        info={},
    )
    write_flat(root, content)


def pycocowriter(root: Path) -> None:
    """pycocowriter 0.5.6, ``COCOData.to_dict``: no supercategory."""
    content = coco(
        annotation=lambda entry: with_area(entry, iscrowd=0),
        info={},
        licenses=[],
    )
    write_flat(root, content)


def labelme2coco(root: Path) -> None:
    """labelme2coco 0.2.6: absolute names, classes from 0."""
    write_images(root / 'images')
    content = coco(
        lambda entry, name: dict(
            entry, file_name=str((root / 'images' / name).absolute())
        ),
        lambda entry: with_area(entry, iscrowd=0, segmentation=[]),
        lambda entry: dict(entry, supercategory=entry['name']),
        category_ids=(0, 1),
    )
    write_flat(root, content)


def dataflow_cv(root: Path) -> None:
    """dataflow-cv 3.0.0, ``yolo2coco``: boxes through rounded parts."""

    def annotation(entry: Entry) -> Entry:
        x, y, w, h = entry['bbox']
        box = [x + 0.001, y + 0.0, w - 0.002, h + 0.0]
        return dict(
            entry, bbox=box, area=box[2] * h, segmentation=[], iscrowd=0
        )

    content = coco(
        lambda entry, name: dict(entry, license=1, date_captured=''),
        annotation,
        lambda entry: dict(entry, supercategory='none'),
        category_ids=(0, 1),
        info=dict(description='COCO dataset'),
    )
    write_flat(root, content)


def write_labels(
    folder: Path,
    numbers: Sequence[int] = (0, 1),
    digits: int = 6,
    outlines: bool = False,
    objects: Sequence = OBJECTS,
) -> None:
    """Text files of labels, also for images without objects."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (height, width) in SIZES_HW.items():
        lines = []
        for image, label, (x, y, w, h) in objects:
            if image != name:
                continue
            values = [(x + w / 2) / width, (y + h / 2) / height]
            values += [w / width, h / height]
            if outlines:
                values = [
                    value / (height if i % 2 else width)
                    for i, value in enumerate(corners((x, y, w, h)))
                ]
            texts = [f'{value:.{digits}f}' for value in values]
            lines.append(' '.join([str(numbers[label]), *texts]))
        path = (folder / name).with_suffix('.txt')
        path.write_text('\n'.join(lines) + '\n')


def write_yaml(path: Path, /, **content: Any) -> None:
    """The description of a YOLO data set."""
    path.write_text(yaml.safe_dump(content))


def yolo_supervision(root: Path) -> None:
    """supervision 0.31.2, ``as_yolo``: a YAML file of nc and names only."""
    for folder in ('train', 'valid'):
        write_images(root / folder / 'images')
        write_labels(root / folder / 'labels', digits=5, outlines=True)
    write_yaml(root / 'data.yaml', nc=2, names=[*NAMES])


def yolo_labelformat(root: Path) -> None:
    """labelformat 0.1.17, ``YOLOv8ObjectDetectionOutput``: ids as numbers."""
    for split in ('train', 'val'):
        write_images(root / 'images' / split)
        write_labels(root / 'labels' / split, (1, 3))
    write_yaml(
        root / 'data.yaml',
        **dict(path='.', train='images/train', val='images/val'),
        **dict(nc=2, names={1: 'disc', 3: 'square'}),
    )


def yolo_datumaro(root: Path) -> None:
    """datumaro 1.13.12, ``yolo_ultralytics``: lists of images, no nc."""
    for split in ('train', 'val'):
        write_images(root / 'images' / split)
        write_labels(root / 'labels' / split)
        lines = [f'./images/{split}/{name}\n' for name in SIZES_HW]
        (root / f'{split}.txt').write_text(''.join(lines))
    write_yaml(
        root / 'data.yaml',
        **dict(train='train.txt', val='val.txt'),
        names=dict(enumerate(NAMES)),
    )


def yolo_pycocowriter(root: Path) -> None:
    """pycocowriter 0.5.6, ``coco2yolo``: train.yaml, gaps, both splits one."""
    write_images(root / 'train' / 'images')
    write_labels(root / 'train' / 'labels', (0, 2))
    both = ['train/images']
    write_yaml(
        root / 'train.yaml',
        **dict(path=str(root.absolute()), train=both, val=both),
        names={0: 'disc', 2: 'square'},
    )


def yolo_pylabel(root: Path) -> None:
    """pylabel 0.1.55, ``ExportToYoloV5``: ids as numbers beside a list."""
    write_images(root / 'images')
    write_labels(root / 'labels', (1, 3), digits=4)
    write_yaml(
        root / 'dataset.yaml',
        **dict(path='..', nc=2, names=[*NAMES]),
        **dict.fromkeys(('train', 'val'), str((root / 'images').absolute())),
    )


def yolo_pylabel_from_0(root: Path) -> None:
    """pylabel 0.1.55 with ``cat_id_index=0``."""
    yolo_pylabel(root)
    write_labels(root / 'labels', digits=4)


def yolo_sahi(root: Path) -> None:
    """sahi 0.12.8, ``export_as_yolo``: data.yml, labels beside the images."""
    for split in ('train', 'val'):
        write_images(root / split)
        write_labels(root / split, (1, 3))
    write_yaml(
        root / 'data.yml',
        **dict(nc=2, names=[*NAMES]),
        **{s: str((root / s).absolute()) for s in ('train', 'val')},
    )


def yolo_label_studio(root: Path) -> None:
    """label-studio-sdk 2.1.2: classes.txt and notes.json, no YAML file."""
    write_images(root / 'images')
    write_labels(root / 'labels')
    (root / 'classes.txt').write_text('\n'.join(NAMES) + '\n')
    (root / 'notes.json').write_text('{"categories": []}')


def yolo_dataflow_cv(root: Path) -> None:
    """dataflow-cv 3.0.0, ``coco2yolo``: classes.txt, no YAML file."""
    write_images(root / 'images')
    write_labels(root / 'labels')
    (root / 'classes.txt').write_text('\n'.join(NAMES) + '\n')


def yolo_globox(root: Path) -> None:
    """globox 2.9.0, ``save_yolo_v5``: text files alone."""
    write_images(root / 'images')
    write_labels(root / 'labels', digits=16)


def darknet_datumaro(root: Path) -> None:
    """datumaro 1.13.12, ``yolo``: obj.data and obj.names of darknet."""
    for split in ('train', 'val'):
        write_images(root / f'obj_{split}_data')
        write_labels(root / f'obj_{split}_data')
        lines = [f'data/obj_{split}_data/{name}\n' for name in SIZES_HW]
        (root / f'{split}.txt').write_text(''.join(lines))
    (root / 'obj.names').write_text('\n'.join(NAMES) + '\n')
    (root / 'obj.data').write_text('classes = 2\nnames = data/obj.names\n')


def single_file(root: Path) -> None:
    """labelme2coco, label-studio-sdk and others: one file of all images."""
    labelme2coco(root)
    (root / 'train.json').rename(root / 'dataset.json')
    (root / 'val.json').unlink()


COCO_FORMS = (
    supervision,
    globox,
    datumaro,
    pylabel,
    sahi,
    label_studio,
    labelformat,
    labelformat_masks,
    coco_lib,
    imantics,
    pycocowriter,
    labelme2coco,
    dataflow_cv,
)
YOLO_FORMS = (
    yolo_supervision,
    yolo_labelformat,
    yolo_datumaro,
    yolo_pycocowriter,
    yolo_pylabel_from_0,
)
# What the one error says that names the way out.
REFUSED_FORMS = {
    yolo_pylabel: 'class 3 is none of 0 ... 1.*names as a mapping',
    yolo_sahi: 'class 3 is none of 0 ... 1.*names as a mapping',
    yolo_label_studio: r'labels without data.yaml.*names: \[disc, square\]',
    yolo_dataflow_cv: r'labels without data.yaml.*names: \[disc, square\]',
    darknet_datumaro: r'labels without data.yaml.*names: \[disc, square\]',
    yolo_globox: 'labels without data.yaml.*names: ',
    single_file: r'rfdetr-mm split \S+dataset.json --out',
}
