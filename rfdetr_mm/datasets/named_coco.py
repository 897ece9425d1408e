"""COCO data sets whose labels go by the names of the classes."""

import logging
import os.path as osp
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS

from rfdetr_mm.errors import InputError
from rfdetr_runtime.image_file import ImageFileError, read_size, turned_size

from .coco_file import (
    label_of_category,
    log_in_main_process,
    read_coco_file,
)
from .coco_masks import DEGENERATE, MISSING, loads_masks
from .collection import uncollected
from .image_folders import compare_with_folders
from .keypoint_reader import (
    UNLABELLED,
    FlipPairs,
    KeypointReader,
    loads_keypoints,
)
from .object_rules import EMPTY, OUTSIDE, judge_object, many_crowds
from .orientation import (
    applies_orientation,
    ignores_orientation,
    may_be_turned,
    warn_of_turned,
)
from .shards import is_address
from .transforms.load_image import checked_loader

_MAX_LOOKED_AT = 500  # images, for their orientation


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
      (``ignore_flag=1``); many of them are a warning.

    With ``LoadAnnotations(with_mask=True)`` in the pipeline, objects without
    a usable mask are left out as well, and counted; so are polygons without
    area of a mask that has others. Sizes of images that the file does not
    tell are read from the image files.

    With ``LoadPoseAnnotations`` in the pipeline, every object has keypoints:
    as many as its category names, or as the object with most of them has.
    Objects without any stay, with none labelled. Keypoints outside the image
    count as not labelled. ``metainfo`` gets ``num_keypoints``,
    ``keypoint_names`` and ``keypoint_links`` of each class. Left and right
    are told by the names; where a class with keypoints does not tell,
    ``PoseRandomFlip`` mirrors no image, with a warning.

    ``LoadImageFromFile`` in the pipeline is taken as ``LoadCheckedImage``.
    (Configs name the former for evaluation, because mmdet's DetInferencer
    looks for it.)

    Args:
        pipeline: Transforms or their configs.
        crowd_as_object: Whether ``iscrowd`` is not looked at. Some exporters
            mark every mask, or every one with holes or several parts. Set
            the same for the metric.
        flip_pairs: Name of a class to the pairs of its keypoints that a
            mirror exchanges, if its names do not tell them; no pairs for a
            class that looks the same. A list has the pairs of every class
            with keypoints.
        **kwargs: Arguments as for ``CocoDataset``; with ``lazy_init`` the file
            is read, and its errors show, at the first use.

    Raises:
        InputError: If the annotation file is not usable (see
            ``read_coco_file``), does not fit ``metainfo.classes`` (see
            ``label_of_category``), names images that are not there, has a
            mask for an image of another size, or has nothing to train on
            although ``test_mode`` is False.
    """

    def __init__(
        self,
        *args: Any,
        pipeline: Sequence[dict | Callable] = (),
        crowd_as_object: bool = False,
        flip_pairs: FlipPairs | None = None,
        **kwargs: Any,
    ) -> None:
        pipeline = [checked_loader(transform) for transform in pipeline]
        self._crowd_as_object = crowd_as_object
        self._applies_orientation = applies_orientation(pipeline)
        self._ignores_orientation = ignores_orientation(pipeline)
        self._with_mask = any(map(loads_masks, pipeline))
        self._with_keypoints = any(map(loads_keypoints, pipeline))
        self._flip_pairs = flip_pairs
        self._keypoints: KeypointReader | None = None
        super().__init__(*args, pipeline=pipeline, **kwargs)

    @uncollected()
    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the annotation file.

        Returns:
            One entry per image, in the order of the file, as CocoDataset's.
        """
        file = read_coco_file(self.ann_file, self.backend_args)
        self._complete_sizes(file.images)
        self.cat2label = label_of_category(file, self.metainfo['classes'])
        # In the order of the labels; classes that the file lacks are absent.
        self.cat_ids = list(self.cat2label)
        self.cat_img_map = {cat_id: [] for cat_id in self.cat_ids}
        if self._with_keypoints:
            self._keypoints = KeypointReader.of_file(
                file,
                self.metainfo['classes'],
                self.cat2label,
                self._flip_pairs,
            )
            self._metainfo.update(self._keypoints.metainfo)
        annotations = defaultdict(list)
        for annotation in file.annotations:
            if annotation['category_id'] in self.cat2label:
                annotations[annotation['image_id']].append(annotation)
        counts: Counter[str] = Counter()
        data_list = []
        images = file.images
        del file  # each object is freed as soon as it is converted
        for image in images:
            data_info = self.parse_data_info(
                dict(
                    raw_img_info=dict(image, img_id=image['id']),
                    raw_ann_info=[],
                )
            )
            data_info['instances'] = self._instances(
                annotations.pop(image['id'], []), image, counts
            )
            if self._keypoints is not None:
                data_info['keypoint_info'] = self._keypoints.info
            data_list.append(data_info)
        self._report(counts, len(data_list))
        self._check_images([info['img_path'] for info in data_list])
        self._look_for_turned(data_list)
        return data_list

    def parse_data_info(self, raw_data_info: dict) -> dict[str, Any]:
        """Convert one entry as CocoDataset; images in shards have no folder.

        Args:
            raw_data_info: The dicts ``raw_img_info`` and ``raw_ann_info``.

        Returns:
            The entry of the data list.
        """
        data_info = super().parse_data_info(raw_data_info)
        file_name = raw_data_info['raw_img_info']['file_name']
        if is_address(file_name):
            data_info['img_path'] = file_name
        return data_info

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
            judged = judge_object(
                annotation,
                image,
                self.ann_file,
                self._with_mask,
                self._crowd_as_object,
            )
            if judged.problem:
                counts[judged.problem] += 1
                continue
            counts['parts'] += judged.num_dropped
            counts['cut'] += judged.is_cut
            counts['crowds'] += judged.is_crowd
            counts['ignored' if judged.is_ignored else 'boxes'] += 1
            instance = dict(
                bbox=list(judged.box),
                bbox_label=self.cat2label[annotation['category_id']],
                ignore_flag=int(judged.is_ignored),
            )
            if judged.segmentation:
                instance['mask'] = judged.segmentation
            if self._keypoints is not None:
                instance['keypoints'] = self._keypoints.read(
                    annotation, instance['bbox_label'], image, counts
                )
            instances.append(instance)
            self.cat_img_map[annotation['category_id']].append(image['id'])
        return instances

    def _report(self, counts: Counter[str], num_images: int) -> None:
        """Log one line; complain if nothing is left to train on."""
        line = (
            f'{self.ann_file}: {num_images} images, {counts["boxes"]} boxes '
            f'and {counts["ignored"]} crowds or ignored boxes, '
            f'{counts["cut"]} of them cut at the border of the image. Left '
            f'out: {counts[EMPTY]} boxes {EMPTY}, {counts[OUTSIDE]} '
            f'{OUTSIDE}.'
        )
        what = 'box'
        if self._with_mask:
            what = 'mask'
            line += (
                f' Also left out: {counts[MISSING]} objects {MISSING}, '
                f'{counts[DEGENERATE]} {DEGENERATE}, {counts["parts"]} '
                'polygons without area of masks that are kept.'
            )
        if self._keypoints is not None:
            line += f' {self._keypoints.summary(counts, self.test_mode)}'
        crowds = ''
        num_objects = counts['boxes'] + counts['ignored']
        if many_crowds(counts['crowds'], num_objects):
            crowds = (
                f' {counts["crowds"]} of {num_objects} objects are marked as '
                'crowds (iscrowd: 1) and not trained on. Some exporters mark '
                'every mask, or every one with holes or several parts: then '
                'give --cfg-options crowd_as_object=True, for data sets and '
                'metrics.'
            )
        if not self.test_mode and not counts['boxes']:
            raise InputError(f'There is no {what} to train on. {line}{crowds}')
        odd = (EMPTY, OUTSIDE, 'parts', MISSING, DEGENERATE, UNLABELLED)
        is_odd = crowds or any(counts[key] for key in odd)
        log_in_main_process(
            line + crowds, logging.WARNING if is_odd else logging.INFO
        )

    def _complete_sizes(self, images: Sequence[dict[str, Any]]) -> None:
        """Read sizes that the file does not tell, in place."""
        unknown = [image for image in images if image['height'] is None]
        folder = self.data_prefix.get('img', '')
        for image in unknown:
            path = osp.join(folder, image['file_name'])
            try:
                size, orientation = read_size(path)
            except (OSError, ImageFileError) as error:
                raise InputError(
                    f'{self.ann_file} has no height and width of the image '
                    f'{path}, and they cannot be read from it: {error}'
                ) from error
            if self._applies_orientation:
                size = turned_size(size, orientation)
            image['height'], image['width'] = size
        if unknown:
            log_in_main_process(
                f'{self.ann_file} has no height and width of {len(unknown)} '
                f'of {len(images)} images; they were read from the image '
                'files.',
                logging.WARNING,
            )

    def _look_for_turned(self, data_list: list[dict[str, Any]]) -> None:
        """Warn of turned pictures where the sizes cannot tell it."""
        if not self._ignores_orientation or not self._is_local(data_list):
            return
        step = -(-len(data_list) // _MAX_LOOKED_AT)
        sample = data_list[::step]
        turned = []
        for info in sample:
            try:
                _, orientation = read_size(info['img_path'])
            except (OSError, ImageFileError):  # told when it is loaded
                continue
            if may_be_turned(orientation, info['height'], info['width']):
                turned.append((info['img_path'], orientation))
        warn_of_turned(self.ann_file, turned, len(sample))

    def _is_local(self, data_list: list[dict[str, Any]]) -> bool:
        backend = (self.backend_args or {}).get('backend', 'local')
        return backend == 'local' and not any(
            '://' in info['img_path'] for info in data_list
        )

    def _check_images(self, paths: list[str]) -> None:
        """Complain about local image files that are not there."""
        backend = (self.backend_args or {}).get('backend', 'local')
        local = [path for path in paths if '://' not in path]
        if backend != 'local' or not local:
            return
        missing, unlisted = compare_with_folders(local)
        self._report_unlisted(unlisted)
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

    def _report_unlisted(self, others: list[str]) -> None:
        """Log how many image files beside the listed ones are not used."""
        if others:
            log_in_main_process(
                f'{self.ann_file}: {len(others)} image files beside its own '
                f'are not listed in it and not used, such as {others[0]}. If '
                'they do not belong to another split and show none of the '
                'objects, add them to images, without annotations: they '
                'teach the background.',
                logging.INFO,
            )
