"""Data sets in the YOLO layout: data.yaml, images and text labels."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmdet.datasets import BaseDetDataset
from mmdet.registry import DATASETS

from rfdetr_mm.errors import InputError
from rfdetr_runtime.image_file import ImageFileError, read_size, turned_size

from .bad_entries import BadEntries
from .coco_file import CocoFile, log_in_main_process
from .coco_masks import check_mask, loads_masks, polygon_area
from .keypoint_reader import (
    Pairs,
    loads_keypoints,
    mirror_of_names,
    mirror_of_pairs,
)
from .object_rules import EMPTY
from .orientation import (
    applies_orientation,
    ignores_orientation,
    warn_of_turned,
)
from .transforms.load_image import checked_loader
from .yolo_labels import read_yolo_labels
from .yolo_layout import YoloLayout, read_yolo_yaml


@DATASETS.register_module()
class YoloDataset(BaseDetDataset):
    """Images with a text file of objects each.

    ``ann_file`` is a YAML file with the class names (``names``, a list or a
    mapping of the numbers in the label files) and, for ``train``, ``val`` and
    ``test``, the folder of images or a text file that lists them, relative to
    ``path`` or to the YAML file. The labels of ``images/x/1.jpg`` lie in
    ``labels/x/1.txt``; without that file the image has no objects. A
    line of it is an object: ``class cx cy w h``, or ``class x1 y1 x2 y2 ...``
    for the outline of a mask, all as parts of the width and height. Where
    the YAML file has ``kpt_shape`` [number, 2 or 3], keypoints follow the
    box: x, y and with 3 the visibility as COCO has it. With 2 they are
    visible, and negative ones not labelled. They are used with
    ``LoadPoseAnnotations`` in the pipeline; every class has the same ones.
    ``flip_idx`` tells which one each becomes in a mirror, otherwise
    ``kpt_names`` do.

    Boxes are cut at the border of the image; those without area are left
    out, with one warning that counts them. Of an outline,
    ``LoadAnnotations(with_mask=True)`` makes the mask; where masks are
    wanted, objects without a usable outline are left out as well, with a
    warning.

    Args:
        pipeline: Transforms or their configs; ``LoadImageFromFile`` is taken
            as ``LoadCheckedImage``.
        split: 'train', 'val' or 'test'.
        with_mask: Whether every object needs a mask; None: if the pipeline
            loads masks.
        flip_pairs: Pairs of keypoints that a mirror exchanges, instead of
            those of the YAML file.
        **kwargs: Arguments as for mmdet's ``BaseDetDataset``. Without
            ``metainfo.classes`` the names in the YAML file are taken; with it,
            labels follow the names, in any order.

    Raises:
        InputError: If the YAML file, a label or an image cannot be used, or
            there is nothing to train on: no box, or no outline although
            masks are wanted. A bad label is named by file and line.

    Source: the format of rfdetr 1.11.2, datasets/yolo.py (Apache-2.0).
    """

    def __init__(
        self,
        *args: Any,
        pipeline: Sequence[dict | Callable] = (),
        split: str = 'train',
        with_mask: bool | None = None,
        flip_pairs: Pairs | None = None,
        **kwargs: Any,
    ) -> None:
        self.split = split
        self._flip_pairs = flip_pairs
        self._keypoint_info: dict[str, Any] = {}
        # Takes what breaks a rule; None: the first one is an error.
        self.bad_entries: BadEntries | None = None
        pipeline = [checked_loader(transform) for transform in pipeline]
        if with_mask is None:
            with_mask = any(map(loads_masks, pipeline))
        self._with_mask = with_mask
        self._with_keypoints = any(map(loads_keypoints, pipeline))
        self._applies_orientation = applies_orientation(pipeline)
        self._ignores_orientation = ignores_orientation(pipeline)
        super().__init__(*args, pipeline=pipeline, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read names, images and labels; see mmdet's ``BaseDetDataset``.

        Raises:
            InputError: See the class.
        """
        layout = read_yolo_yaml(self.ann_file)
        classes = tuple(self._metainfo.setdefault('classes', layout.names))
        if missing := [name for name in layout.names if name not in classes]:
            raise InputError(
                f'{self.ann_file} has classes that metainfo.classes lacks: '
                f'{", ".join(missing)}. Add them, or leave metainfo.classes '
                'out to take the names of the file'
            )
        if self._with_keypoints:
            self._add_keypoints(layout, classes)
        positions = [classes.index(name) for name in layout.names]
        paths = layout.find_images(self.split)
        data_list, turned, unlabelled = [], [], []
        self.num_empty, first_empty = 0, None
        for img_id, path in enumerate(paths):
            try:
                (height, width), orientation = _read_size(path)
            except InputError as error:
                if self.bad_entries is None:
                    raise
                self.bad_entries.add(
                    error, 'images must be readable', str(error)
                )
                continue
            if self._applies_orientation:
                height, width = turned_size((height, width), orientation)
            if orientation != 1:
                turned.append((str(path), orientation))
            label_path = layout.label_path(path)
            if not label_path.is_file():
                unlabelled.append(label_path)
            found, num_empty = read_yolo_labels(
                label_path, layout, height, width, self.bad_entries
            )
            instances = [
                dict(instance, bbox_label=positions[instance['bbox_label']])
                for instance in found
            ]
            if num_empty and not self.num_empty:
                first_empty = label_path
            self.num_empty += num_empty
            data_list.append(
                dict(
                    img_id=img_id,
                    img_path=str(path),
                    height=height,
                    width=width,
                    instances=instances,
                    **self._keypoint_info,
                )
            )
        self._report(data_list, unlabelled, first_empty)
        if self._ignores_orientation:
            warn_of_turned(self._source, turned, len(paths))
        if self._with_mask:
            self._leave_out_boxes(data_list, layout)
        return data_list

    def _add_keypoints(
        self, layout: YoloLayout, classes: tuple[str, ...]
    ) -> None:
        """Tell pipeline and metric what keypoints the objects have."""
        count, _ = layout.keypoint_shape
        if not count:
            raise InputError(
                f'{self.ann_file} has no kpt_shape, so its objects have no '
                'keypoints. Take a data set with keypoints, or a detection '
                'config of configs/rfdetr'
            )
        names = layout.keypoint_names
        mirror = layout.keypoint_mirror or mirror_of_names(names)
        if self._flip_pairs is not None:
            where = f'{self.ann_file}: flip_pairs'
            mirror = mirror_of_pairs(self._flip_pairs, count, where)
        mirrors = None if mirror is None else (tuple(mirror),) * len(classes)
        self._keypoint_info['keypoint_info'] = dict(
            largest=count, mirrors=mirrors
        )
        self._metainfo.update(
            num_keypoints=(count,) * len(classes),
            keypoint_names=(names,) * len(classes),
            keypoint_links=((),) * len(classes),
        )
        if mirrors is None and not self.test_mode:
            log_in_main_process(
                f'{self.ann_file}: without flip_idx it is not known which '
                'keypoints are left and right, so images are not mirrored.',
                logging.WARNING,
            )

    @property
    def _source(self) -> str:
        return f'{self.ann_file}, split {self.split!r}'

    def _report(
        self,
        data_list: list[dict],
        unlabelled: list[Path],
        first_empty: Path | None,
    ) -> None:
        """Log one line; complain if there is no box to train on."""
        num_boxes = sum(len(data['instances']) for data in data_list)
        line = f'{self._source}: {len(data_list)} images, {num_boxes} boxes.'
        if unlabelled:
            line += (
                f' {len(unlabelled)} images have no label file and count as '
                f'background; the first one that is missing is '
                f'{unlabelled[0]}.'
            )
        if first_empty is not None:
            line += (
                f' Left out: {self.num_empty} objects {EMPTY}, the first one '
                f'in {first_empty}.'
            )
        if not num_boxes and not self.test_mode:
            raise InputError(
                f'There is no box to train on. {line} Labels lie in the '
                'folder labels where the path of the image, from the folder '
                'of the YAML file on, has images, and otherwise beside the '
                'image.'
            )
        level = logging.WARNING if self.num_empty else logging.INFO
        log_in_main_process(line, level)

    def _leave_out_boxes(
        self, data_list: list[dict], layout: YoloLayout
    ) -> None:
        """Leave objects without mask out, in place; none left is an error."""
        counts: Counter[str | None] = Counter()
        first = None
        for data in data_list:
            kept = []
            for instance in data['instances']:
                annotation = dict(id=0, segmentation=instance.get('mask'))
                problem = check_mask(annotation, data, self.ann_file).problem
                counts[problem] += 1
                if problem is None:
                    kept.append(instance)
                else:
                    first = first or data['img_path']
            data['instances'] = kept
        num_masks = counts.pop(None, 0)
        left_out = ', '.join(f'{n} {problem}' for problem, n in counts.items())
        line = f'{self._source}: {num_masks} masks. Left out: '
        line += f'{left_out or "none"}'
        if first is not None:
            line += f', the first one in {layout.label_path(Path(first))}'
        line += '.'
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


def read_yolo_split(
    path: str, split: str, bad_entries: BadEntries | None = None
) -> CocoFile:
    """Read one split as if it were an annotation file of COCO.

    Args:
        path: The YAML file.
        split: 'train', 'val' or 'test'.
        bad_entries: Takes images that cannot be read, and lines that break a
            rule; None: the first one is an error.

    Returns:
        Images, objects and classes, whose ids count from 0.

    Raises:
        InputError: As :class:`YoloDataset`.
    """
    dataset = YoloDataset(
        ann_file=path,
        split=split,
        test_mode=True,
        serialize_data=False,
        lazy_init=True,
    )
    dataset.bad_entries = bad_entries
    dataset.full_init()
    if not len(dataset):
        raise bad_entries.first
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
            if 'keypoints' in instance:
                annotation['keypoints'] = [
                    value for point in instance['keypoints'] for value in point
                ]
            if 'mask' in instance:
                annotation['segmentation'] = instance['mask']
                annotation['area'] = polygon_area(instance['mask'][0])
            annotations.append(annotation)
    categories = [
        dict(id=label, name=name)
        for label, name in enumerate(dataset.metainfo['classes'])
    ]
    layout = read_yolo_yaml(path)
    if layout.keypoint_shape[0]:
        for category in categories:
            category['keypoints'] = list(layout.keypoint_names)
    return CocoFile(
        path,
        tuple(images),
        tuple(annotations),
        tuple(categories),
        {EMPTY: dataset.num_empty} if dataset.num_empty else {},
    )


def _read_size(path: Path) -> tuple[tuple[int, int], int]:
    """(height, width) in pixels as stored, and the EXIF orientation."""
    try:
        return read_size(path)
    except FileNotFoundError as error:
        raise InputError(f'There is no image file {path}.') from error
    except ImageFileError as error:
        raise InputError(str(error)) from error
    except (OSError, ValueError) as error:  # of a name that no disk takes
        raise InputError(
            f'The image file {str(path)!r:.200} cannot be opened: '
            f'{str(error):.200}'
        ) from error
