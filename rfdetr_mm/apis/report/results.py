"""Detections that were written to a file, as the metrics take them."""

import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import DATASETS, METRICS
from mmengine.config import Config
from mmengine.dataset import BaseDataset

from rfdetr_mm.checkpoints.restricted_pickle import RestrictedUnpickler
from rfdetr_mm.errors import InputError
from rfdetr_mm.evaluation import NamedCocoMetric

Results = list[tuple[dict[str, Any], dict[str, Any]]]
_EMPTY = dict(bboxes=np.zeros((0, 4)), scores=[], labels=[], masks=[])


class _ResultsUnpickler(RestrictedUnpickler):
    """Also reads tensors of a plain pickle, whose numbers are inner files."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ('torch.storage', '_load_from_bytes'):
            self._callables.append(_storage)
            return _storage
        return super().find_class(module, name)


def _storage(content: bytes) -> Any:
    file = io.BytesIO(content)
    return torch.load(file, map_location='cpu', weights_only=True)


def metric_of(evaluator: Any) -> NamedCocoMetric:
    """The metric of an evaluator that knows truth and classes.

    Args:
        evaluator: A metric, mmengine's Evaluator, or a list of metrics.

    Raises:
        InputError: If there is none.
    """
    metrics = getattr(evaluator, 'metrics', evaluator)
    if not isinstance(metrics, (list, tuple)) or isinstance(
        evaluator, NamedCocoMetric
    ):
        metrics = [evaluator]
    for metric in metrics:
        if isinstance(metric, NamedCocoMetric):
            return metric
    raise InputError(
        'a report needs an evaluator that finds classes by their names: set '
        "test_evaluator.type='NamedCocoMetric' (or VernierCocoMetric or "
        f'NamedOksMetric), got {[type(m).__name__ for m in metrics]}'
    )


def data_of(cfg: Config) -> tuple[NamedCocoMetric, BaseDataset]:
    """Build the test set and its metric.

    Args:
        cfg: A config whose data set is filled in.

    Returns:
        The metric, which knows the classes, and the data set.

    Raises:
        InputError: If they cannot be used.
    """
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    wanted = cfg.test_evaluator
    if not isinstance(wanted, (list, tuple)):
        wanted = [wanted]
    metric = metric_of([METRICS.build(dict(one)) for one in wanted])
    metric.dataset_meta = dataset.metainfo
    return metric, dataset


def read_results(
    path: str | os.PathLike[str],
    metric: NamedCocoMetric,
    dataset: BaseDataset,
) -> Results:
    """Read detections and match them with the truth.

    Args:
        path: What ``tools/test.py --out FILE.pkl`` has written, or COCO's
            results as JSON. A pickle is read without running any code.
        metric: See :func:`data_of`.
        dataset: The test set.

    Returns:
        (truth, prediction) of each image, those of the metric.

    Raises:
        InputError: If the file cannot be read, or its images or classes are
            not those of the data set.
    """
    path = Path(path)
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    truths = [
        dict(
            img_id=info['img_id'],
            height=info['height'],
            width=info['width'],
            anns=info['instances'],
        )
        for info in infos
    ]
    ids = [truth['img_id'] for truth in truths]
    content = _load(path)
    if all('pred_instances' in one for one in content):
        found = {one['img_id']: one['pred_instances'] for one in content}
        _check_images(path, [*found], ids)
        found = {key: _plain(one) for key, one in found.items()}
    else:
        # The metric says which label a category has.
        metric.match_results([(truth, dict(_EMPTY)) for truth in truths])
        found = _from_coco(path, content, ids, metric.label_of_category())
    num = len(metric.dataset_meta['classes'])
    for key, one in found.items():
        if len(one['labels']) and max(one['labels']) >= num:
            raise InputError(
                f'{path}: the image {key} has a detection of the label '
                f'{max(one["labels"])}, but the data set has {num} classes, '
                f'0 to {num - 1}: these results are of another data set'
            )
    results = [
        (truth, {**_EMPTY, **found.get(key, {}), 'img_id': key})
        for key, truth in zip(ids, truths)
    ]
    _check_columns(path, metric, results)
    metric.match_results(results)
    return results


def _load(path: Path) -> list[dict[str, Any]]:
    try:
        with open(path, 'rb') as file:
            if path.suffix == '.json':
                content = json.load(file)
            else:
                content = _ResultsUnpickler(file).load()
    except FileNotFoundError:
        raise InputError(f'there is no file of results {path}') from None
    except (OSError, ValueError, EOFError, KeyError, IndexError) as error:
        raise InputError(f'{path} cannot be read: {error}') from error
    except Exception as error:  # whatever a broken pickle makes
        raise InputError(
            f'{path} is neither COCO results (.json) nor what tools/test.py '
            f'--out has written (.pkl): {error}'
        ) from error
    is_list = isinstance(content, list)
    if not is_list or not all(isinstance(one, Mapping) for one in content):
        raise InputError(
            f'{path} must hold a list of detections, as tools/test.py --out '
            "FILE.pkl or the evaluator's outfile_prefix writes it, got "
            f'{"other entries" if is_list else type(content).__name__}'
        )
    return content


def _check_images(
    path: Path, found: Sequence[Any], ids: Sequence[int]
) -> None:
    unknown = sorted({*found} - {*ids}, key=str)
    if unknown:
        raise InputError(
            f'{path} has detections of {len(unknown)} images that the data '
            f'set does not have, such as id {unknown[0]} ({len(ids)} images '
            f'have the ids {min(ids)} to {max(ids)}): these results are of '
            'another data set'
        )


def _plain(one: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays out of tensors."""
    return {
        name: value if name == 'masks' else np.asarray(value)
        for name, value in one.items()
    }


def _from_coco(
    path: Path,
    content: Sequence[Mapping[str, Any]],
    ids: Sequence[int],
    label_of: Mapping[int, int],
) -> dict[int, dict[str, Any]]:
    for row, one in enumerate(content):
        missing = {'image_id', 'category_id', 'score'} - one.keys()
        if missing:
            raise InputError(
                f'{path}: result {row} has no {sorted(missing)[0]}; COCO '
                'results have image_id, category_id, score and bbox, '
                'segmentation or keypoints'
            )
        if one['category_id'] not in label_of:
            raise InputError(
                f'{path}: result {row} is of the category '
                f'{one["category_id"]}, which the data set does not have '
                f'({sorted(label_of)[:20]}): these results are of another '
                'data set'
            )
    _check_images(path, [one['image_id'] for one in content], ids)
    grouped: dict[int, list[Mapping[str, Any]]] = {}
    for one in content:
        grouped.setdefault(one['image_id'], []).append(one)
    return {
        key: _columns(path, group, label_of) for key, group in grouped.items()
    }


def _columns(
    path: Path,
    group: Sequence[Mapping[str, Any]],
    label_of: Mapping[int, int],
) -> dict[str, Any]:
    from pycocotools import mask as mask_api

    columns: dict[str, Any] = dict(
        labels=np.array([label_of[one['category_id']] for one in group]),
        scores=np.array([one['score'] for one in group], np.float64),
    )
    boxes = []
    for one in group:
        box = one.get('bbox')
        if box is None and 'segmentation' in one:
            box = mask_api.toBbox(one['segmentation']).tolist()
        if box is None and 'keypoints' in one:
            x, y = one['keypoints'][::3], one['keypoints'][1::3]
            box = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
        if box is None or len(box) != 4:
            raise InputError(
                f'{path}: a result of the image {one["image_id"]} has no '
                'bbox (four numbers), segmentation or keypoints'
            )
        boxes.append([box[0], box[1], box[0] + box[2], box[1] + box[3]])
    columns['bboxes'] = np.array(boxes, np.float64)
    if all('segmentation' in one for one in group):
        columns['masks'] = [one['segmentation'] for one in group]
    if all('keypoints' in one for one in group):
        most = max(len(one['keypoints']) for one in group) // 3
        points = np.zeros((len(group), most, 3))
        for row, one in enumerate(group):
            values = np.reshape(one['keypoints'], (-1, 3))
            points[row, : len(values)] = values
        columns['keypoints'] = points
    return columns


def _check_columns(
    path: Path, metric: NamedCocoMetric, results: Results
) -> None:
    """Masks and keypoints are there where they are to be evaluated."""
    for wanted, column in (('segm', 'masks'), ('keypoints', 'keypoints')):
        is_wanted = wanted in metric.metrics or hasattr(metric, 'sigmas')
        if wanted == 'segm':
            is_wanted = 'segm' in metric.metrics
        if not is_wanted:
            continue
        for _, one in results:
            if len(one['labels']) and len(one.get(column, ())) == 0:
                raise InputError(
                    f'{path} has detections without {column}, which the '
                    "config's evaluator compares; give the results of a "
                    f'model with {column}'
                )
            if column == 'keypoints':
                one.setdefault('keypoints', np.zeros((0, 0, 3)))
