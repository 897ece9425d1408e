"""COCO data sets whose labels go by the names of the classes."""

import logging
import os
import os.path as osp
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS

from rfdetr_mm.errors import InputError

from .coco_file import (
    label_of_category,
    log_in_main_process,
    read_coco_file,
    visible_box,
)
from .coco_masks import (
    DEGENERATE,
    MISSING,
    find_mask_problem,
    loads_masks,
)
from .transforms.load_image import checked_loader

_ROUNDING_PX = 0.01


@DATASETS.register_module()
class NamedCocoDataset(CocoDataset):
    """``CocoDataset`` in which no label and no box is silently wrong.

    Labels are the positions of the names in ``metainfo.classes``; the order
    of the categories in the annotation file and their ids do not matter,
    where mmdet takes the order of the file. The file is checked on loading,
    and what is left out is logged with its count, one line per file:

    * boxes are cut at the borders of the image,
    * boxes without area, or wholly outside, are left out. Others are kept,
      also those under one pixel, which mmdet drops, and upstream does not,
    * crowds, and boxes marked ``ignore``, are not trained on
      (``ignore_flag=1``).

    With ``LoadAnnotations(with_mask=True)`` in the pipeline, objects without
    a usable mask are left out as well, and counted.

    ``LoadImageFromFile`` in the pipeline is taken as ``LoadCheckedImage``.
    (Configs name the former for evaluation, because mmdet's DetInferencer
    looks for it.)

    Args:
        pipeline: Transforms or their configs.
        **kwargs: As for ``CocoDataset``; with ``lazy_init`` the file is read,
            and its errors show, at the first use.

    Raises:
        InputError: If the annotation file is not usable (see
            ``read_coco_file``), does not fit ``metainfo.classes`` (see
            ``label_of_category``), names images that are not there, has a
            mask for an image of another size, or has nothing to train on
            although ``test_mode`` is False.

    Source: boxes as in rfdetr 1.11.2, datasets/coco.py, ConvertCoco
        (Apache-2.0).
    """

    def __init__(
        self,
        *args: Any,
        pipeline: Sequence[dict | Callable] = (),
        **kwargs: Any,
    ) -> None:
        pipeline = [checked_loader(transform) for transform in pipeline]
        self._with_mask = any(map(loads_masks, pipeline))
        super().__init__(*args, pipeline=pipeline, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the annotation file.

        Returns:
            One entry per image, in the order of the file, as CocoDataset's.
        """
        file = read_coco_file(self.ann_file, self.backend_args)
        self.cat2label = label_of_category(file, self.metainfo['classes'])
        # In the order of the labels; classes that the file lacks are absent.
        self.cat_ids = list(self.cat2label)
        self.cat_img_map = {cat_id: [] for cat_id in self.cat_ids}
        annotations = defaultdict(list)
        for annotation in file.annotations:
            if annotation['category_id'] in self.cat2label:
                annotations[annotation['image_id']].append(annotation)
        counts: Counter[str] = Counter()
        data_list = []
        for image in file.images:
            data_info = self.parse_data_info(
                dict(
                    raw_img_info=dict(image, img_id=image['id']),
                    raw_ann_info=[],
                )
            )
            data_info['instances'] = self._instances(
                annotations[image['id']], image, counts
            )
            data_list.append(data_info)
        self._report(counts, len(data_list))
        self._check_images([info['img_path'] for info in data_list])
        return data_list

    def filter_data(self) -> list[dict[str, Any]]:
        """Apply ``filter_cfg`` as CocoDataset.

        Raises:
            InputError: If it leaves no image.
        """
        kept = super().filter_data()
        if not kept:
            raise InputError(
                f'{self.ann_file}: filter_cfg={self.filter_cfg} leaves none '
                f'of {len(self.data_list)} images.'
            )
        return kept

    def _instances(
        self,
        annotations: list[dict[str, Any]],
        image: dict[str, Any],
        counts: Counter[str],
    ) -> list[dict[str, Any]]:
        """Convert the annotations of one image, counting what happens."""
        instances = []
        for annotation in annotations:
            x, y, w, h = annotation['bbox']
            box = visible_box(annotation['bbox'], image)
            if box is None:
                counts['empty' if w <= 0 or h <= 0 else 'outside'] += 1
                continue
            if self._with_mask:
                problem = find_mask_problem(annotation, image, self.ann_file)
                if problem:
                    counts[problem] += 1
                    continue
            whole = (x, y, x + w, y + h)
            moved_px = max(abs(a - b) for a, b in zip(box, whole))
            counts['cut'] += moved_px > _ROUNDING_PX
            is_ignored = annotation['iscrowd'] or annotation.get('ignore', 0)
            counts['ignored' if is_ignored else 'boxes'] += 1
            instance = dict(
                bbox=list(box),
                bbox_label=self.cat2label[annotation['category_id']],
                ignore_flag=int(bool(is_ignored)),
            )
            if annotation.get('segmentation'):
                instance['mask'] = annotation['segmentation']
            instances.append(instance)
            self.cat_img_map[annotation['category_id']].append(image['id'])
        return instances

    def _report(self, counts: Counter[str], num_images: int) -> None:
        """Log one line; complain if nothing is left to train on."""
        line = (
            f'{self.ann_file}: {num_images} images, {counts["boxes"]} boxes '
            f'and {counts["ignored"]} crowds or ignored boxes, '
            f'{counts["cut"]} of them cut at the border of the image. Left '
            f'out: {counts["empty"]} boxes without area, {counts["outside"]} '
            'wholly outside their image.'
        )
        what = 'box'
        if self._with_mask:
            what = 'mask'
            line += (
                f' Also left out: {counts[MISSING]} objects {MISSING}, '
                f'{counts[DEGENERATE]} {DEGENERATE}.'
            )
        if not self.test_mode and not counts['boxes']:
            raise InputError(f'There is no {what} to train on. {line}')
        is_odd = any(
            counts[key] for key in ('empty', 'outside', MISSING, DEGENERATE)
        )
        log_in_main_process(line, logging.WARNING if is_odd else logging.INFO)

    def _check_images(self, paths: list[str]) -> None:
        """Complain about local image files that are not there."""
        backend = (self.backend_args or {}).get('backend', 'local')
        local = [path for path in paths if '://' not in path]
        if backend != 'local' or not local:
            return
        folders = {osp.dirname(path) for path in local}
        there = {
            osp.join(folder, name)
            for folder in folders
            if osp.isdir(folder or '.')
            for name in os.listdir(folder or '.')
        }
        # Asked again, as names may be written in more than one way.
        missing = [
            path
            for path in local
            if path not in there and not osp.isfile(path)
        ]
        if missing:
            prefix = self.data_prefix.get('img', '')
            exists = (
                '' if osp.isdir(prefix or '.') else ', which does not exist'
            )
            raise InputError(
                f'{self.ann_file}: {len(missing)} of {len(paths)} image files '
                f'are not there: {", ".join(missing[:3])}'
                f'{", …" if len(missing) > 3 else ""}. Looked in the folder '
                f'{prefix or "."}{exists}. Set data_root and data_prefix.img '
                'to the folder that file_name in the annotations counts from.'
            )
