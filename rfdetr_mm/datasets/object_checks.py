"""Objects of a split: how many are trained on, which are left out, and why."""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rfdetr_mm.errors import InputError

from .findings import ERROR, NOTE, WARNING, Findings
from .object_rules import judge_object, many_crowds
from .splits import Split

MIN_SIDE_PX = 2
MIN_AREA_PX = 16
_NUM_PLACES = 3
_TINY = 'tiny'
_TWICE = 'the same object twice'
# COCO's bounds of small and medium objects, in pixels of the area.
_SMALL, _MEDIUM = 32**2, 96**2


@dataclass
class ObjectCounts:
    """Numbers of a split.

    Attributes:
        images: All of its images.
        background: Images without an object that is trained on.
        boxes: Objects that are trained on.
        ignored: Crowds and others that are marked as ignored.
        crowds: The crowds among them.
        cut: Boxes cut at the border of their image.
        tiny: Boxes with a side under 2 px or an area under 16 px.
        repeated: Objects whose class and box another one has already.
        small: Boxes under 32 x 32 px, as COCO counts them.
        medium: Boxes from there to 96 x 96 px.
        large: The others.
        left_out: Why, and how many.
        per_class: Class name to boxes.
        places: Kind of a suspicious object to files and ids of the first
            ones.
    """

    images: int = 0
    background: int = 0
    boxes: int = 0
    ignored: int = 0
    crowds: int = 0
    cut: int = 0
    tiny: int = 0
    repeated: int = 0
    small: int = 0
    medium: int = 0
    large: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    per_class: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON can hold them."""
        return {
            key: dict(value) if isinstance(value, Counter) else value
            for key, value in vars(self).items()
        }


def check_objects(
    name: str,
    split: Split,
    root: str,
    label_of: Mapping[int, int],
    options: Mapping[str, bool],
    findings: Findings,
) -> ObjectCounts:
    """Judge all objects of a split by the rules of training.

    Args:
        name: The name of the split.
        split: Its content.
        root: The folder of the data set.
        label_of: Category id to label, of the categories that are classes.
        options: ``with_mask`` and ``crowd_as_object`` of ``judge_object``.
        findings: List to which what is found is appended.

    Returns:
        The numbers.
    """
    counts = ObjectCounts(images=len(split.file.images))
    counts.left_out.update(split.file.left_out)
    names = {c['id']: c['name'] for c in split.file.categories}
    of_image = defaultdict(list)
    for annotation in split.file.annotations:
        of_image[annotation['image_id']].append(annotation)
    folder = os.path.join(root, split.image_folder)
    for image in split.file.images:
        path = os.path.join(folder, image['file_name'])
        num_before, seen = counts.boxes, set()
        for annotation in of_image[image['id']]:
            if annotation['category_id'] not in label_of:
                counts.left_out['whose category is not a class'] += 1
                continue
            try:
                judged = judge_object(
                    annotation, image, split.file.path, **options
                )
            except InputError as error:
                what = 'masks cannot be used'
                findings.count(ERROR, 'unusable mask', name, what, str(error))
                continue
            reason = _count(annotation, judged, counts, seen)
            if reason:
                kind = reason.partition(',')[0]
                places = counts.places.setdefault(kind, [])
                if len(places) < _NUM_PLACES:
                    places.append(f'{path}, id {annotation["id"]}')
                box = judged.box or _corners(annotation['bbox'])
                findings.suspect(path, f'{name}: {reason}', (box,))
            if judged.box and not judged.is_ignored:
                counts.per_class[names[annotation['category_id']]] += 1
        counts.background += counts.boxes == num_before
    _report(name, split, counts, findings, options)
    return counts


def _count(
    annotation: dict[str, Any], judged: Any, counts: ObjectCounts, seen: set
) -> str | None:
    """Count one object; say what is suspicious about it."""
    if judged.problem:
        counts.left_out[judged.problem] += 1
        return judged.problem
    counts.cut += judged.is_cut
    counts.crowds += judged.is_crowd
    if judged.is_ignored:
        counts.ignored += 1
        return None
    counts.boxes += 1
    x1, y1, x2, y2 = judged.box
    area = (x2 - x1) * (y2 - y1)
    size = 'small' if area < _SMALL else 'medium'
    size = 'large' if area >= _MEDIUM else size
    setattr(counts, size, getattr(counts, size) + 1)
    key = (annotation['category_id'], *judged.box)
    if key in seen:
        counts.repeated += 1
        return _TWICE
    seen.add(key)
    if min(x2 - x1, y2 - y1) < MIN_SIDE_PX or area < MIN_AREA_PX:
        counts.tiny += 1
        return f'{_TINY}, {x2 - x1:.3g} x {y2 - y1:.3g} px'
    return None


def _corners(bbox: list[float]) -> tuple[float, float, float, float]:
    x, y, w, h = bbox
    return (x, y, x + w, y + h)


def _report(
    name: str,
    split: Split,
    counts: ObjectCounts,
    findings: Findings,
    options: Mapping[str, bool],
) -> None:
    """Turn the numbers into findings."""
    num_all = counts.boxes + counts.ignored
    what = 'mask' if options.get('with_mask') else 'box'
    if not counts.boxes and name != 'test':
        use = 'to evaluate on' if name == 'val' else 'to train on'
        text = f'{split.file.path}: there is no {what} {use}.'
        findings.add(ERROR, 'no object', text, name)
    for reason, number in counts.left_out.items():
        text = f'{number} objects {reason} are left out.'
        findings.add(
            *(WARNING, 'left out', f'{name}: {text}', name, number),
            counts.places.get(reason, ()),
        )
    if many_crowds(counts.crowds, num_all):
        findings.add(
            WARNING,
            'crowds',
            f'{name}: {counts.crowds} of {num_all} objects are marked as '
            'crowds (iscrowd: 1) and not trained on. If your exporter marks '
            'masks that way, train with --cfg-options crowd_as_object=True.',
            name,
            counts.crowds,
        )
    elif counts.crowds:
        text = f'{name}: {counts.crowds} crowds are not trained on.'
        findings.add(NOTE, 'crowds', text, name, counts.crowds)
    if counts.repeated:
        findings.add(
            WARNING,
            'repeated objects',
            f'{name}: {counts.repeated} objects have the class and the box '
            'of another one of their image. Remove them: a model that finds '
            'both is punished for the second.',
            name,
            counts.repeated,
            counts.places[_TWICE],
        )
    if counts.tiny:
        findings.add(
            NOTE,
            'tiny boxes',
            f'{name}: {counts.tiny} boxes have a side under {MIN_SIDE_PX} px '
            f'or an area under {MIN_AREA_PX} px. They are trained on; many '
            'of them are slips of the mouse.',
            name,
            counts.tiny,
            counts.places[_TINY],
        )
    if counts.cut:
        text = f'{name}: {counts.cut} boxes are cut at their image border.'
        findings.add(NOTE, 'cut boxes', text, name, counts.cut)
