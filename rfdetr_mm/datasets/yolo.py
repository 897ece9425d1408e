"""Data sets in the YOLO layout: data.yaml, images and text labels."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from mmdet.datasets import BaseDetDataset
from mmdet.registry import DATASETS
from PIL import Image, UnidentifiedImageError

from rfdetr_mm.errors import InputError

from .coco_file import CocoFile, log_in_main_process
from .coco_masks import find_mask_problem, loads_masks, polygon_area

IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
_TOLERANCE = 1e-3  # of a normalised coordinate; labels are rounded
_FOLDERS = dict(train='train', val='valid', test='test')


@DATASETS.register_module()
class YoloDataset(BaseDetDataset):
    """Images with a text file of objects each.

    ``ann_file`` is a YAML file with the class names (``names``, a list or a
    mapping from 0 on) and, for ``train``, ``val`` and ``test``, the folder of
    images or a text file that lists them, relative to ``path`` or to the
    YAML file. The labels of ``.../images/x/1.jpg`` lie in
    ``.../labels/x/1.txt``; without that file the image has no objects. A
    line of it is an object: ``class cx cy w h``, or ``class x1 y1 x2 y2 ...``
    for the outline of a mask, all as parts of the width and height.

    Boxes are cut at the border of the image; those without area are left
    out. Of an outline, ``LoadAnnotations(with_mask=True)`` makes the mask;
    with it in the pipeline, objects without a usable outline are left out as
    well, with a warning.

    Args:
        split: 'train', 'val' or 'test'.
        **kwargs: As for mmdet's ``BaseDetDataset``. Without
            ``metainfo.classes`` the names in the YAML file are taken; with
            it, labels follow the names, in any order.

    Raises:
        InputError: If the YAML file, a label or an image cannot be used, or
            there is no outline although masks are to be trained on. A bad
            label is named by file and line.

    Source: the format of rfdetr 1.11.2, datasets/yolo.py (Apache-2.0).
    """

    def __init__(
        self, *args: Any, split: str = 'train', **kwargs: Any
    ) -> None:
        self.split = split
        self._with_mask = any(map(loads_masks, kwargs.get('pipeline', ())))
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read names, images and labels; see mmdet's ``BaseDetDataset``.

        Raises:
            InputError: See the class.
        """
        names, content = read_yolo_yaml(self.ann_file)
        classes = tuple(self._metainfo.setdefault('classes', names))
        if missing := [name for name in names if name not in classes]:
            raise InputError(
                f'{self.ann_file} has classes that metainfo.classes lacks: '
                f'{", ".join(missing)}. Add them, or leave metainfo.classes '
                'out to take the names of the file'
            )
        labels = [classes.index(name) for name in names]
        images = find_yolo_images(self.ann_file, content, self.split)
        data_list = []
        for img_id, path in enumerate(images):
            width, height = _image_size(path)
            instances = [
                dict(instance, bbox_label=labels[instance['bbox_label']])
                for instance in read_yolo_labels(
                    _label_path(path), len(names), height, width
                )
            ]
            data_list.append(
                dict(
                    img_id=img_id,
                    img_path=str(path),
                    height=height,
                    width=width,
                    instances=instances,
                )
            )
        if self._with_mask:
            self._leave_out_boxes(data_list)
        return data_list

    def _leave_out_boxes(self, data_list: list[dict]) -> None:
        """Leave objects without mask out, in place; none left is an error."""
        counts: Counter[str | None] = Counter()
        for data in data_list:
            kept = []
            for instance in data['instances']:
                annotation = dict(id=0, segmentation=instance.get('mask'))
                problem = find_mask_problem(annotation, data, self.ann_file)
                counts[problem] += 1
                if problem is None:
                    kept.append(instance)
            data['instances'] = kept
        num_masks = counts.pop(None, 0)
        left_out = ', '.join(f'{n} {problem}' for problem, n in counts.items())
        line = (
            f'{self.ann_file}, split {self.split!r}: {num_masks} masks. Left '
            f'out: {left_out or "none"}.'
        )
        if not num_masks and not self.test_mode:
            raise InputError(
                f'There is no mask to train on. {line} Lines "class cx cy w '
                'h" are boxes, masks need outlines, "class x1 y1 x2 y2 ...". '
                'For boxes take a detection config, of configs/rfdetr.'
            )
        level = logging.WARNING if left_out else logging.INFO
        log_in_main_process(line, level)

    def filter_data(self) -> list[dict]:
        """Leave images out as ``filter_cfg`` says, in training only.

        Returns:
            Images with objects, and with sides of ``min_size`` px at least,
            if ``filter_empty_gt`` and ``min_size`` are set.
        """
        if self.test_mode or not self.filter_cfg:
            return self.data_list
        filter_empty = self.filter_cfg.get('filter_empty_gt', False)
        min_size = self.filter_cfg.get('min_size', 0)
        return [
            data
            for data in self.data_list
            if (data['instances'] or not filter_empty)
            and min(data['width'], data['height']) >= min_size
        ]


def read_yolo_split(path: str, split: str) -> CocoFile:
    """Read one split as if it were an annotation file of COCO.

    Args:
        path: Of the YAML file.
        split: 'train', 'val' or 'test'.

    Returns:
        Images, objects and classes, whose ids count from 0.

    Raises:
        InputError: As :class:`YoloDataset`.
    """
    dataset = YoloDataset(ann_file=path, split=split, test_mode=True)
    images, annotations = [], []
    for index in range(len(dataset)):
        data = dataset.get_data_info(index)
        images.append(
            dict(
                id=data['img_id'],
                file_name=data['img_path'],
                height=data['height'],
                width=data['width'],
            )
        )
        for instance in data['instances']:
            x1, y1, x2, y2 = instance['bbox']
            annotation = dict(
                id=len(annotations) + 1,
                image_id=data['img_id'],
                category_id=instance['bbox_label'],
                bbox=[x1, y1, x2 - x1, y2 - y1],
                area=(x2 - x1) * (y2 - y1),
                iscrowd=0,
            )
            if 'mask' in instance:
                annotation['segmentation'] = instance['mask']
                annotation['area'] = polygon_area(instance['mask'][0])
            annotations.append(annotation)
    categories = [
        dict(id=label, name=name)
        for label, name in enumerate(dataset.metainfo['classes'])
    ]
    return CocoFile(path, tuple(images), tuple(annotations), tuple(categories))


def read_yolo_yaml(path: str) -> tuple[tuple[str, ...], dict]:
    """Read a YAML file of the YOLO layout.

    Args:
        path: Of the file.

    Returns:
        The class names, and everything in the file.

    Raises:
        InputError: If the file cannot be read or has no usable names.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f'{path} cannot be read as YAML: {error}') from error
    names = content.get('names') if isinstance(content, dict) else None
    if isinstance(names, dict):
        if sorted(map(str, names)) != sorted(map(str, range(len(names)))):
            raise InputError(
                f'{path}: names must be numbered from 0 on without gaps, got '
                f'{sorted(names, key=str)}'
            )
        names = [name for _, name in sorted(names.items(), key=_number)]
    if not isinstance(names, list) or not names:
        raise InputError(
            f'{path} has no class names: it needs names, a list or a mapping '
            f'from 0 on, got {names!r}'
        )
    names = tuple(str(name) for name in names)
    if len(set(names)) < len(names):
        raise InputError(f'{path}: a class name is given twice: {names}')
    return names, content


def _number(item: tuple[Any, Any]) -> int:
    return int(item[0])


def find_yolo_images(path: str, content: dict, split: str) -> list[Path]:
    """List the images of a split.

    Args:
        path: Of the YAML file.
        content: Of the YAML file.
        split: 'train', 'val' or 'test'.

    Returns:
        Paths, sorted.

    Raises:
        InputError: If there is no folder or list of them, or no image.
    """
    sources, tried = _sources(path, content, split)
    if not sources:
        raise InputError(
            f'{path}: the images of the split {split!r} are not there; looked '
            f'for {", ".join(map(str, tried))}. Correct {split} (or path) in '
            'that file'
        )
    images = sorted({image for s in sources for image in _images_of(s)})
    if not images:
        raise InputError(
            f'{path}: no images of the split {split!r} (files with '
            f'{" ".join(IMAGE_SUFFIXES)}) in '
            f'{", ".join(str(s) for s in sources)}'
        )
    return images


def has_yolo_split(path: str, split: str) -> bool:
    """Whether the folder or list of a split is there.

    Args:
        path: Of the YAML file.
        split: 'train', 'val' or 'test'.

    Raises:
        InputError: If the YAML file cannot be read.
    """
    _, content = read_yolo_yaml(path)
    return bool(_sources(path, content, split)[0])


def _sources(
    path: str, content: dict, split: str
) -> tuple[list[Path], list[Path]]:
    """Folders and lists of a split's images, and where was looked."""
    root = Path(path).parent
    base = root / str(content.get('path') or '')
    base = base if base.is_dir() else root
    given = content.get(split)
    if given is None and split == 'val':
        given = content.get('valid')
    if given is None:
        tried = [
            base / _FOLDERS.get(split, split) / 'images',
            base / 'images' / split,
        ]
        return [c for c in tried if c.is_dir()][:1], tried
    given = [str(g) for g in (given if isinstance(given, list) else [given])]
    # Roboflow writes ../train/images where train/images is meant.
    pairs = [
        (base / source, base / source.removeprefix('../')) for source in given
    ]
    found = [[c for c in pair if c.exists()][:1] for pair in pairs]
    tried = list(dict.fromkeys(c for pair in pairs for c in pair))
    return [c for pair in found for c in pair] if all(found) else [], tried


def _images_of(source: Path) -> list[Path]:
    """Images below a folder, or those that a text file lists."""
    if source.is_dir():
        return [
            file
            for file in source.rglob('*')
            if file.suffix.lower() in IMAGE_SUFFIXES
        ]
    lines = source.read_text(encoding='utf-8').splitlines()
    return [source.parent / line.strip() for line in lines if line.strip()]


def _label_path(image: Path) -> Path:
    """The last folder called images becomes labels; otherwise beside it."""
    parts = list(image.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == 'images':
            parts[i] = 'labels'
            break
    return Path(*parts).with_suffix('.txt')


def _image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels as stored; EXIF rotation is ignored."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f'{path} cannot be read as image: {error}') from error


def read_yolo_labels(
    path: Path, num_classes: int, height: int, width: int
) -> list[dict]:
    """Read the objects of one image.

    Args:
        path: Of the text file; if it is missing there are no objects.
        num_classes: Classes are numbered from 0 to num_classes - 1.
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Returns:
        For each object with an area ``bbox`` (x1, y1, x2, y2) in pixels,
        ``bbox_label``, ``ignore_flag`` 0 and, where the line is an outline,
        ``mask`` (a list of one polygon).

    Raises:
        InputError: For a line that is neither a box nor an outline.
    """
    if not path.is_file():
        return []
    instances = []
    lines = path.read_text(encoding='utf-8').splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            label, values = _parse_line(line, num_classes)
        except ValueError as error:
            raise InputError(f'{path}, line {number}: {error}') from error
        instance = _make_instance(label, values, height, width)
        x1, y1, x2, y2 = instance['bbox']
        if x2 > x1 and y2 > y1:
            instances.append(instance)
    return instances


def _parse_line(line: str, num_classes: int) -> tuple[int, list[float]]:
    """Class and normalised coordinates of a line."""
    first, *rest = line.split()
    if len(rest) != 4 and (len(rest) < 6 or len(rest) % 2):
        raise ValueError(
            'expected "class cx cy w h" or "class x1 y1 x2 y2 x3 y3 ...", got '
            f'{len(rest)} numbers after the class: {line.strip()!r}'
        )
    try:
        label, values = float(first), [float(value) for value in rest]
    except ValueError:
        raise ValueError(f'not a number in {line.strip()!r}') from None
    if label not in range(num_classes):
        raise ValueError(
            f'class {first} is none of 0 ... {num_classes - 1}, the names in '
            'the YAML file'
        )
    for value in values:
        if not -_TOLERANCE <= value <= 1 + _TOLERANCE:  # or not a number
            raise ValueError(
                f'{value} is no part of the width or height, between 0 and 1;'
                ' pixels have to be divided by the size of the image'
            )
    return int(label), values


def _make_instance(
    label: int, values: list[float], height: int, width: int
) -> dict:
    """An object in pixels, its box cut at the border."""
    instance = dict(bbox_label=label, ignore_flag=0)
    if len(values) == 4:
        cx, cy, w, h = values
        x1, y1, x2, y2 = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    else:
        x1, x2 = min(values[::2]), max(values[::2])
        y1, y2 = min(values[1::2]), max(values[1::2])
        instance['mask'] = [
            [
                min(max(value, 0.0), 1.0) * (height if i % 2 else width)
                for i, value in enumerate(values)
            ]
        ]
    instance['bbox'] = [
        min(max(x1, 0.0), 1.0) * width,
        min(max(y1, 0.0), 1.0) * height,
        min(max(x2, 0.0), 1.0) * width,
        min(max(y2, 0.0), 1.0) * height,
    ]
    return instance
