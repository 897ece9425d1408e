"""COCO annotation files: read, checked, their categories matched by name."""

import difflib
import functools
import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from mmengine import fileio
from mmengine.logging import print_log
from torch.utils.data import get_worker_info

from rfdetr_mm.errors import InputError

from .bad_entries import (
    MISSING,
    BadEntries,
    BadEntryError,
    check_text,
    fail,
    is_finite,
    to_whole_number,
)
from .coco_masks import mask_area
from .collection import uncollected
from .shards import is_shard_index, read_shards

_LISTS = ('images', 'annotations', 'categories')
_NO_PARENT = ('', 'none', 'null')
_MAX_NAMES = 20
WITHOUT_IMAGE = 'whose image_id no image has'


@dataclass(frozen=True)
class CocoFile:
    """The checked content of one COCO annotation file.

    Ids are ints and unique, every ``category_id`` and ``image_id`` is known,
    boxes are four finite numbers (x, y, w, h) in pixels, ``area`` (pixels)
    and ``iscrowd`` (0 or 1) are always there. ``height`` and ``width`` are
    positive ints, or both None where the file does not tell them. Other
    fields are as in the file.

    Args:
        path: Path that it was read from.
        images: Each has ``id``, ``file_name``, ``height`` and ``width``.
        annotations: Each has ``id``, ``image_id``, ``category_id``, ``bbox``,
            ``area`` and ``iscrowd``.
        categories: Each has ``id`` and ``name``, in the file's order.
        left_out: Objects that were left out on reading: why, and how many.
    """

    path: str
    images: tuple[dict[str, Any], ...]
    annotations: tuple[dict[str, Any], ...]
    categories: tuple[dict[str, Any], ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def annotated_category_ids(self) -> set[int]:
        """Return the ids of the categories that at least one box has."""
        return {annotation['category_id'] for annotation in self.annotations}


@uncollected()
def read_coco_file(
    path: str,
    backend_args: dict[str, Any] | None = None,
    bad_entries: BadEntries | None = None,
) -> CocoFile:
    """Read and check a COCO annotation file.

    The index of a split in shards is read as well; ``file_name`` of its
    images is their address, see
    :class:`~rfdetr_mm.datasets.shards.ShardBackend`.

    Ids given as text of digits are taken as ints, annotations without ``id``
    are numbered, a missing ``area`` is the mask's or else the box's, a
    missing ``iscrowd`` is 0. Annotations of images that are not in the file
    are left out, with one warning that counts them.

    Args:
        path: Path or address, as mmengine's file backends take them.
        backend_args: Arguments of the file backend; None for the path's own
            backend.
        bad_entries: Takes the entries that break a rule, which are left out
            then; None: the first one is an error.

    Returns:
        The content.

    Raises:
        InputError: If the file is missing or is not an annotation file.
            The message names the file, the field and what is wrong.
    """
    path = str(path)
    content = _read_json(path, backend_args)
    if is_shard_index(content):
        content = read_shards(path, content)
    for name in _LISTS:
        if not isinstance(content.get(name), list):
            fail(path, name, 'must be a list', content.get(name, MISSING))
    for name in ('images', 'categories'):
        if not content[name]:
            raise InputError(
                f'{path}: {name} is empty, at least one is needed'
            )
    lists = {name: list(enumerate(content[name])) for name in _LISTS}

    def keep(name: str, check: Callable[[str, Any], None]) -> None:
        lists[name] = list(_passing(name, lists[name], check, bad_entries))

    for name in reversed(_LISTS):
        keep(name, functools.partial(_check_object, path))
    _number_annotations(entry for _, entry in lists['annotations'])
    for name in _LISTS:
        keep(name, _UniqueIds(path))
    keep('images', functools.partial(_check_image, path))
    keep('categories', functools.partial(_check_category, path))
    images, categories = (
        tuple(entry for _, entry in lists[name])
        for name in ('images', 'categories')
    )
    if not images or not categories:
        raise bad_entries.first
    image_ids = {image['id'] for image in images}
    known = {category['id'] for category in categories}
    keep('annotations', functools.partial(_check_image_id, path))
    num_all = len(lists['annotations'])
    lists['annotations'] = [
        (number, annotation)
        for number, annotation in lists['annotations']
        if annotation['image_id'] in image_ids
    ]
    left_out = {}
    if num_lost := num_all - len(lists['annotations']):
        left_out[WITHOUT_IMAGE] = num_lost
        log_in_main_process(
            f'{path}: {num_lost} of {len(content["annotations"])} annotations '
            'are left out, because no image has their image_id.',
            logging.WARNING,
        )
    keep('annotations', functools.partial(_check_annotation, path, known))
    annotations = tuple(entry for _, entry in lists['annotations'])
    file = CocoFile(path, images, annotations, categories, left_out)
    _check_used_names(file)
    return file


def _passing(
    name: str,
    entries: Iterable[tuple[int, Any]],
    check: Callable[[str, Any], None],
    bad_entries: BadEntries | None,
) -> Iterator[tuple[int, Any]]:
    """The entries of a list, with their numbers, that pass a check."""
    for number, entry in entries:
        try:
            check(f'{name}[{number}]', entry)
        except BadEntryError as error:
            if bad_entries is None:
                raise
            bad_entries.add(error)
        else:
            yield number, entry


def class_names(file: CocoFile) -> tuple[str, ...]:
    """Return the classes of a file, in the order of the category ids.

    A category without boxes is not a class if another category gives its name
    as ``supercategory`` (Roboflow's exports begin with such a root), or if
    it only repeats the name of another one. If that leaves nothing, every
    name is a class.

    Source: rfdetr 1.11.2, datasets/coco.py, filter_parent_categories
        (Apache-2.0).

    Differs from upstream: a repeated name is one class.
    """
    used = file.annotated_category_ids()
    ordered = sorted(file.categories, key=lambda category: category['id'])
    parents = {
        category['supercategory']
        for category in ordered
        if isinstance(category.get('supercategory'), str)
        and category['supercategory'] not in _NO_PARENT
        and category['supercategory'] != category['name']
    }
    kept = [
        category
        for category in ordered
        if category['id'] in used or category['name'] not in parents
    ]
    id_of_name = _id_of_name(file)
    return tuple(
        category['name']
        for category in kept or ordered
        if id_of_name[category['name']] == category['id']
    )


def label_of_category(
    file: CocoFile, classes: Sequence[str]
) -> dict[int, int]:
    """Match the categories of a file with the classes, by name.

    Neither the order of the categories in the file nor their ids matter.
    What is not matched is logged, at most one line per file: classes that
    the file does not have, or boxes of categories that are no classes.

    Args:
        file: The annotation file.
        classes: Class names in the order of the labels.

    Returns:
        Category id to label, only of categories that are classes.

    Raises:
        InputError: If the classes are no list of different names, if the
            file has none of them, or if it lacks some but has boxes of
            categories that are no classes: then a name is probably
            misspelled, and the boxes would silently be lost.
    """
    check_classes(classes)
    id_of_name = _id_of_name(file)
    label_of = {
        id_of_name[name]: label
        for label, name in enumerate(classes)
        if name in id_of_name
    }
    missing = [name for name in classes if name not in id_of_name]
    names = {category['id']: category['name'] for category in file.categories}
    other_boxes = Counter(
        names[annotation['category_id']]
        for annotation in file.annotations
        if annotation['category_id'] not in label_of
    )
    if not label_of:
        raise InputError(
            f'{file.path} has none of the classes. metainfo.classes: '
            f'{listed(classes)}. categories of the file: '
            f'{listed(class_names(file))}. Set metainfo.classes to the names '
            'in the file, or name the file that belongs to these classes; a '
            'trained model must first be trained on those of the file.'
        )
    if missing and other_boxes:
        _fail_misspelled(file, missing, other_boxes)
    if missing:
        log_in_main_process(
            f'{file.path} has no category for {len(missing)} of '
            f'{len(classes)} classes: {listed(missing)}.',
            logging.WARNING,
        )
    elif other_boxes:
        log_in_main_process(
            f'{file.path}: {sum(other_boxes.values())} boxes are left out, '
            f'because their categories are no classes: {_counted(other_boxes)}'
            '.',
            logging.INFO,
        )
    return label_of


def check_classes(classes: Sequence[str]) -> None:
    """Raise an InputError unless the classes are a list of different names."""
    if isinstance(classes, str):
        raise InputError(
            f'metainfo.classes must be a list of names, but is the text '
            f'{classes!r}. A single class is written ({classes!r},), with a '
            'comma.'
        )
    repeated = [name for name, n in Counter(classes).items() if n > 1]
    if repeated:
        raise InputError(
            f'metainfo.classes names {listed(repeated)} more than once, so '
            'that its label is not clear. Every class needs its own name.'
        )


def visible_box(
    bbox: Sequence[float], image: dict[str, Any]
) -> tuple[float, float, float, float] | None:
    """Cut a box at the borders of its image.

    Args:
        bbox: (x, y, w, h) in pixels.
        image: Its image, with ``height`` and ``width`` in pixels, None where
            they are not known.

    Returns:
        (x1, y1, x2, y2) in pixels within the image, or None if nothing of
        the box lies in it.
    """
    x, y, w, h = bbox
    x1, x2 = max(x, 0), min(x + w, image['width'] or math.inf)
    y1, y2 = max(y, 0), min(y + h, image['height'] or math.inf)
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def log_in_main_process(message: str, level: int) -> None:
    """Log to mmengine's current logger, but not again in loader workers.

    Args:
        message: One line.
        level: A level of ``logging``.
    """
    if get_worker_info() is None:
        print_log(message, logger='current', level=level)


def listed(names: Sequence[str]) -> str:
    """Return the names with commas, the first twenty if there are more."""
    more = f', … ({len(names)})' if len(names) > _MAX_NAMES else ''
    return ', '.join(map(str, names[:_MAX_NAMES])) + more


def _counted(boxes: Counter[str]) -> str:
    return listed([f'{name} ({n})' for name, n in boxes.most_common()])


def _read_json(path: str, backend_args: dict[str, Any] | None) -> dict:
    try:
        data = fileio.get(path, backend_args=backend_args)
        text = data.decode(json.detect_encoding(data), 'surrogatepass')
        del data  # half of the memory that the text takes
        content = json.loads(text)
    except FileNotFoundError:
        raise InputError(
            f'There is no annotation file {path}. Check data_root and '
            'ann_file; a relative path counts from the folder that the '
            'program was started in.'
        ) from None
    except OSError as error:
        raise InputError(f'{path} cannot be read: {error}') from error
    except (ValueError, RecursionError) as error:  # also of bytes, no text
        raise InputError(f'{path} is not a JSON file: {error}') from error
    if not isinstance(content, dict):
        raise InputError(
            f'{path} must hold a JSON object with the lists '
            f'{", ".join(_LISTS)}, but holds a {type(content).__name__}.'
        )
    return content


def _check_object(path: str, field: str, entry: Any) -> None:
    if not isinstance(entry, dict):
        fail(path, field, 'must be an object', entry)


class _UniqueIds:
    """Makes ids ints, in place, and checks that they are unique."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._first: dict[int, tuple[str, Any]] = {}

    def __call__(self, field: str, entry: dict[str, Any]) -> None:
        to_whole_number(self._path, field, entry, 'id')
        other, first = self._first.setdefault(entry['id'], (field, entry))
        if first is entry:
            return
        way_out = 'Remove one of them: they are equal.'
        if entry != first:
            way_out = 'Give one of them another id: they are different.'
        raise BadEntryError(
            *(self._path, f'{field}.id', 'must be unique'),
            f'{other} has it as well',
            f'{self._path}: {other} and {field} have the same id '
            f'{entry["id"]}; ids must be unique. {way_out}',
        )


def _number_annotations(annotations: Iterable[dict[str, Any]]) -> None:
    """Give ids to annotations if none of them has any, as labelformat's."""
    annotations = list(annotations)
    if all(annotation.get('id') is None for annotation in annotations):
        for number, annotation in enumerate(annotations, start=1):
            annotation['id'] = number


def _check_image(path: str, field: str, image: dict[str, Any]) -> None:
    check_text(path, field, image, 'file_name')
    if image.get('height') is None and image.get('width') is None:
        image['height'] = image['width'] = None
        return
    for key in ('height', 'width'):
        to_whole_number(path, field, image, key, 'in pixels')
        if image[key] <= 0:
            fail(path, f'{field}.{key}', 'must be positive', image[key])


def _check_category(path: str, field: str, category: dict[str, Any]) -> None:
    check_text(path, field, category, 'name')


def _check_image_id(path: str, field: str, entry: dict[str, Any]) -> None:
    to_whole_number(path, field, entry, 'image_id')


def _check_annotation(
    path: str, known: set[int], field: str, annotation: dict[str, Any]
) -> None:
    to_whole_number(path, field, annotation, 'category_id')
    if annotation['category_id'] not in known:
        fail(
            path,
            f'{field}.category_id',
            f'must be the id of a category ({listed(sorted(known))})',
            annotation['category_id'],
        )
    bbox = annotation.get('bbox', MISSING)
    if not (
        isinstance(bbox, list) and len(bbox) == 4 and all(map(is_finite, bbox))
    ):
        rule = 'must be four finite numbers [x, y, w, h] in pixels'
        fail(path, f'{field}.bbox', rule, bbox)
    if annotation.get('area') is None:
        annotation['area'] = mask_area(annotation) or bbox[2] * bbox[3]
    elif not is_finite(annotation['area']):
        rule = 'must be a finite number of pixels'
        fail(path, f'{field}.area', rule, annotation['area'])
    is_crowd = annotation.get('iscrowd') or 0
    if is_crowd not in (0, 1):
        fail(path, f'{field}.iscrowd', 'must be 0 or 1', is_crowd)
    annotation['iscrowd'] = int(is_crowd)


def _check_used_names(file: CocoFile) -> None:
    used = file.annotated_category_ids()
    id_of_name: dict[str, int] = {}
    for category in file.categories:
        if category['id'] not in used:
            continue
        other = id_of_name.setdefault(category['name'], category['id'])
        if other != category['id']:
            raise InputError(
                f'{file.path}: the categories with the ids {other} and '
                f'{category["id"]} are both named {category["name"]!r}, and '
                'both have boxes. Give them different names, or one id.'
            )


def _id_of_name(file: CocoFile) -> dict[str, int]:
    """Each name once: the category that has boxes, else the lowest id."""
    used = file.annotated_category_ids()
    ordered = sorted(
        file.categories, key=lambda c: (c['id'] in used, -c['id'])
    )
    return {category['name']: category['id'] for category in ordered}


def _fail_misspelled(
    file: CocoFile, missing: list[str], other_boxes: Counter[str]
) -> NoReturn:
    guesses = []
    for name in missing:
        close = difflib.get_close_matches(name, other_boxes, 1, 0.0)[0]
        guesses.append(f'{name!r} (closest in the file: {close!r})')
    raise InputError(
        f'{file.path} has no category for {len(missing)} of the classes, '
        f'{listed(guesses)}, but has {sum(other_boxes.values())} boxes of '
        f'categories that are no classes: {_counted(other_boxes)}. Probably a '
        'name is misspelled: use the same names in metainfo.classes and in '
        'the file (upper and lower case count). If the file really lacks a '
        'class, list it among its categories without boxes.'
    )
