"""From a metric's truth and results to the columns that are analysed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from .analysis import Detections, Objects, Scene
from .named_coco_metric import NamedCocoMetric, plain_rle
from .named_oks_metric import NamedOksMetric

Results = Sequence[tuple[dict[str, Any], dict[str, Any]]]


def scenes_of(
    metric: NamedCocoMetric, results: Results, dataset: BaseDataset
) -> list[Scene]:
    """Make a scene of boxes, and of masks and keypoints where they are.

    Args:
        metric: It has matched the results, see
            :meth:`NamedCocoMetric.match_results`.
        results: (truth, prediction) of each image.
        dataset: The data set, which says where the images are.

    Returns:
        One scene for each kind, with the images in the order of their ids.
    """
    ids = metric.image_ids()
    place = {key: number for number, key in enumerate(ids)}
    paths = {}
    for number in range(len(dataset)):
        info = dataset.get_data_info(number)
        paths[info['img_id']] = info.get('img_path') or ''
    found = {truth['img_id']: given for truth, given in results}
    found = {place[key]: found[key] for key in ids if key in found}
    kinds = [kind for kind in ('bbox', 'segm') if kind in metric.metrics]
    if isinstance(metric, NamedOksMetric):
        kinds.append('keypoints')
    scenes = []
    for kind in kinds:
        truth, sigmas = metric.truth(results, kind)
        scenes.append(
            Scene(
                kind,
                tuple(metric.dataset_meta['classes']),
                tuple(ids),
                tuple(paths.get(key, '') for key in ids),
                _objects(metric, truth, place, kind),
                _detections(found, kind, set(sigmas)),
                metric.max_detections(kind),
                sigmas,
            )
        )
    return scenes


def _objects(
    metric: NamedCocoMetric,
    annotations: Sequence[Mapping[str, Any]],
    place: Mapping[int, int],
    kind: str,
) -> Objects:
    label_of = metric.label_of_category()
    kept = sorted(
        (a for a in annotations if a['category_id'] in label_of),
        key=lambda a: place[a['image_id']],
    )
    masks = points = None
    if kind == 'segm':
        masks = [metric.mask_of(annotation) for annotation in kept]
    if kind == 'keypoints':
        most = max((len(a['keypoints']) for a in kept), default=0) // 3
        points = np.zeros((len(kept), most, 3))
        for row, annotation in enumerate(kept):
            values = np.reshape(annotation['keypoints'], (-1, 3))
            points[row, : len(values)] = values
    return Objects(
        np.array([place[a['image_id']] for a in kept], np.int64),
        np.array([label_of[a['category_id']] for a in kept], np.int64),
        np.array([a['bbox'] for a in kept], np.float64).reshape(-1, 4),
        np.array([a['area'] for a in kept], np.float64),
        np.array([a.get('iscrowd', 0) for a in kept], bool),
        masks,
        points,
    )


def _detections(
    found: Mapping[int, Mapping[str, Any]], kind: str, with_points: set[int]
) -> Detections:
    """Columns of all images; for keypoints only of classes that have some."""
    images, labels, corners, scores = [], [], [], []
    masks: list[dict[str, Any]] = []
    points = []
    for image, one in found.items():
        number = len(one['labels'])
        images.append(np.full(number, image))
        labels.append(np.asarray(one['labels'], np.int64))
        corners.append(np.asarray(one['bboxes'], np.float64).reshape(-1, 4))
        name = 'scores'
        if kind == 'segm':
            masks += map(plain_rle, one['masks'])
            name = 'mask_scores' if 'mask_scores' in one else name
        if kind == 'keypoints':
            points.append(np.asarray(one['keypoints'])[..., :2])
        scores.append(np.asarray(one[name], np.float64))
    boxes = np.concatenate([*corners, np.zeros((0, 4))])
    boxes[:, 2:] -= boxes[:, :2]
    columns = Detections(
        np.concatenate([*images, np.zeros(0, np.int64)]),
        np.concatenate([*labels, np.zeros(0, np.int64)]),
        boxes,
        np.concatenate([*scores, np.zeros(0)]),
        masks if kind == 'segm' else None,
        _stacked(points) if kind == 'keypoints' else None,
    )
    if kind == 'keypoints':
        columns = columns.taken(np.isin(columns.label, [*with_points]))
    return columns


def _stacked(points: Sequence[np.ndarray]) -> np.ndarray:
    most = max((one.shape[1] for one in points if one.ndim == 3), default=0)
    rows = [one.reshape(-1, most, 2) for one in points if one.size]
    return np.concatenate([*rows, np.zeros((0, most, 2))])
