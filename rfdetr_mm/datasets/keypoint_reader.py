"""Keypoints in annotations: whose they are, checked, and their mirrors."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rfdetr_mm.errors import InputError

from .coco_file import CocoFile

Pairs = Sequence[Sequence[int]]
FlipPairs = Mapping[str, Pairs] | Pairs

_SIDES = {'left': 'right', 'right': 'left'}
UNLABELLED = 'keypoints outside their image'


def loads_keypoints(transform: Any) -> bool:
    """Whether a transform of a pipeline, or its config, loads keypoints."""
    name = type(transform).__name__
    if isinstance(transform, dict):
        name = transform.get('type')
    return name == 'LoadPoseAnnotations'


def mirror_of_names(names: Sequence[str]) -> list[int] | None:
    """Find which keypoint each one becomes in a mirror, by the names.

    A name with exactly one word ``left`` or ``right`` becomes the one with
    the other word, if there is one; any other name stays. Upper and lower
    case and what stands between words do not matter.

    Args:
        names: Names of the keypoints of a class.

    Returns:
        The other's index for each keypoint; None if there is no such pair
        or two names are the same.

    Source: rfdetr 1.11.2, datasets/_keypoint_schema.py.
    """
    words = [
        tuple(re.sub('[^a-z0-9]+', ' ', str(name).lower()).split())
        for name in names
    ]
    if len(set(words)) < len(words):
        return None
    places = {word: index for index, word in enumerate(words)}
    mirror = list(range(len(words)))
    for index, name in enumerate(words):
        if sum(word in _SIDES for word in name) == 1:
            other = tuple(_SIDES.get(word, word) for word in name)
            mirror[index] = places.get(other, index)
    return None if mirror == list(range(len(words))) else mirror


def checked_mirror(mirror: Sequence[int], count: int, where: str) -> list[int]:
    """Check that a mirror exchanges keypoints in pairs.

    Args:
        mirror: Index of the keypoint that each one becomes.
        count: Keypoints of the class.
        where: What to name in the message.

    Returns:
        The same.

    Raises:
        InputError: If an index is impossible, or two mirrors do not give
            every keypoint back.
    """
    indices = list(range(count))
    is_permutation = sorted(mirror) == indices if _are_ints(mirror) else False
    if not is_permutation or [mirror[i] for i in mirror] != indices:
        raise InputError(
            f'{where} must name every keypoint from 0 to {count - 1} once and '
            'exchange them in pairs (a permutation that is its own inverse), '
            f'got {list(mirror)}'
        )
    return list(mirror)


def mirror_of_pairs(
    pairs: Sequence[Sequence[int]], count: int, where: str
) -> list[int]:
    """Turn pairs of keypoints into a mirror, see :func:`checked_mirror`.

    Args:
        pairs: Two indices each; keypoints without a pair stay.
        count: Keypoints of the class.
        where: What to name in the message.

    Returns:
        Index of the keypoint that each one becomes.

    Raises:
        InputError: If an index is impossible or in two pairs.
    """
    flat = [index for pair in pairs for index in pair]
    is_usable = _are_ints(flat) and all(len(pair) == 2 for pair in pairs)
    if (
        not is_usable
        or len(set(flat)) < len(flat)
        or not all(0 <= index < count for index in flat)
    ):
        raise InputError(
            f'{where} must be pairs of keypoints from 0 to {count - 1}, each '
            f'keypoint in one pair at most, got {list(pairs)}'
        )
    mirror = list(range(count))
    for first, second in pairs:
        mirror[first], mirror[second] = second, first
    return mirror


def _are_ints(values: Sequence[Any]) -> bool:
    return all(type(value) is int for value in values)


@dataclass(frozen=True)
class KeypointReader:
    """The keypoints of the classes of a data set.

    Attributes:
        path: Path of the file that they were read from.
        names: Names of the keypoints of each class; none for a class without
            keypoints.
        links: Pairs of keypoints of each class that a skeleton connects.
        mirrors: What each keypoint of each class becomes in a mirror; None
            if a class does not tell: then images must not be mirrored.
    """

    path: str
    names: tuple[tuple[str, ...], ...]
    links: tuple[tuple[tuple[int, int], ...], ...]
    mirrors: tuple[tuple[int, ...], ...] | None

    @classmethod
    def of_file(
        cls,
        file: CocoFile,
        classes: Sequence[str],
        label_of: Mapping[int, int],
        flip_pairs: FlipPairs | None = None,
    ) -> 'KeypointReader':
        """Find the keypoints of the classes in an annotation file.

        A category names them (``keypoints``); otherwise the annotation with
        most keypoints tells how many there are.

        Args:
            file: The annotation file.
            classes: Names of the classes.
            label_of: Category id to label.
            flip_pairs: Name of a class to the pairs of its keypoints that a
                mirror exchanges, or the pairs of every class with keypoints;
                by their names where it is not given.

        Returns:
            The reader.

        Raises:
            InputError: If no class has keypoints, or something about them is
                impossible.
        """
        names = [()] * len(classes)
        links = [()] * len(classes)
        is_named = [False] * len(classes)
        largest = _most_keypoints(file)
        for category in file.categories:
            label = label_of.get(category['id'])
            if label is None:
                continue
            given = _names_of(category, file.path)
            is_named[label] = bool(given)
            count = largest.get(category['id'], 0)
            names[label] = given or tuple(f'{i}' for i in range(count))
            links[label] = _links_of(category, len(names[label]))
        if not any(names):
            raise InputError(
                f'{file.path} has no keypoints: no category of '
                f'{", ".join(classes)} names any and no object has any. Take '
                'an annotation file with keypoints, or a detection config of '
                'configs/rfdetr'
            )
        mirrors = _mirrors(file.path, classes, names, is_named, flip_pairs)
        return cls(file.path, tuple(names), tuple(links), mirrors)

    @property
    def counts(self) -> tuple[int, ...]:
        """Keypoints of each class."""
        return tuple(len(names) for names in self.names)

    @property
    def info(self) -> dict[str, Any]:
        """What the pipeline needs to know beside the objects."""
        return dict(largest=max(self.counts), mirrors=self.mirrors)

    @property
    def metainfo(self) -> dict[str, Any]:
        """What is told about the data set."""
        return dict(
            num_keypoints=self.counts,
            keypoint_names=self.names,
            keypoint_links=self.links,
        )

    def summary(self, counts: Counter[str], test_mode: bool) -> str:
        """Say what was read.

        Args:
            counts: The counts that :meth:`read` filled in.
            test_mode: Whether the data set is not trained on.

        Returns:
            One or two sentences.
        """
        text = (
            f'Keypoints of the classes: {self.counts}; {counts[UNLABELLED]} '
            f'{UNLABELLED} count as not labelled.'
        )
        if self.mirrors is None and not test_mode:
            text += (
                ' Their names do not tell left from right, so images are not '
                'mirrored; flip_pairs of the data set would tell.'
            )
        return text

    def read(
        self,
        annotation: Mapping[str, Any],
        label: int,
        image: Mapping[str, Any],
        counts: Counter[str],
    ) -> list[list[float]]:
        """Read the keypoints of an object.

        Args:
            annotation: The annotation of the object, with COCO's fields.
            label: Index of its class.
            image: Its image, with ``height`` and ``width`` in pixels.
            counts: Changed in place: the number of labelled keypoints that
                lie outside the image is added. They count as not labelled.

        Returns:
            (x, y, visibility) for as many as the largest class has; zeros
            where nothing is labelled.

        Raises:
            InputError: If the keypoints are impossible, with the object.
        """
        largest = max(self.counts)
        points = checked_keypoints(annotation, self.path)
        if len(points) > self.counts[label]:
            raise InputError(
                f'{self.path}: the annotation {annotation["id"]} has '
                f'{len(points)} keypoints, but its category names '
                f'{self.counts[label]}: {", ".join(self.names[label])}'
            )
        kept = []
        for x, y, visibility in points:
            is_inside = 0 <= x < image['width'] and 0 <= y < image['height']
            counts[UNLABELLED] += bool(visibility) and not is_inside
            is_kept = visibility and is_inside
            kept.append([x, y, visibility] if is_kept else [0.0, 0.0, 0.0])
        return kept + [[0.0, 0.0, 0.0]] * (largest - len(kept))


def checked_keypoints(
    annotation: Mapping[str, Any], path: str
) -> list[tuple[float, float, float]]:
    """Check the keypoints of an object in COCO's layout.

    Args:
        annotation: An annotation with ``keypoints`` [x1, y1, v1, ...] in
            pixels, or without any.
        path: To name in the message.

    Returns:
        (x, y, v) of each.

    Raises:
        InputError: If they are no list of three numbers each, all finite,
            with v from 0, 1 and 2.
    """
    values = annotation.get('keypoints') or []
    rule = None
    if not isinstance(values, list) or len(values) % 3:
        size = len(values) if isinstance(values, list) else repr(values)[:40]
        rule = f'must be three numbers (x, y, v) each, but has {size}'
    elif not all(
        type(x) in (int, float) and abs(x) < float('inf') for x in values
    ):
        rule = 'must be finite numbers'
    elif not {*values[2::3]} <= {0, 1, 2}:
        odd = next(v for v in values[2::3] if v not in (0, 1, 2))
        rule = (
            'must have 0 (not labelled), 1 (hidden) or 2 (visible) as third '
            f'numbers, but has {odd}'
        )
    if rule:
        raise InputError(
            f'{path}: keypoints of the annotation {annotation["id"]} {rule}'
        )
    return list(zip(values[::3], values[1::3], values[2::3]))


def _most_keypoints(file: CocoFile) -> dict[int, int]:
    """Most keypoints that an object of each category has."""
    largest: dict[int, int] = {}
    for annotation in file.annotations:
        count = len(checked_keypoints(annotation, file.path))
        key = annotation['category_id']
        largest[key] = max(largest.get(key, 0), count)
    return largest


def _names_of(category: Mapping[str, Any], path: str) -> tuple[str, ...]:
    names = category.get('keypoints') or []
    if not isinstance(names, list):
        raise InputError(
            f'{path}: keypoints of the category {category["name"]!r} must be '
            f'a list of names, but is {names!r:.80}'
        )
    return tuple(map(str, names))


def _links_of(
    category: Mapping[str, Any], count: int
) -> tuple[tuple[int, int], ...]:
    """The skeleton, counted from 0, without links that are not pairs."""
    links = category.get('skeleton') or []
    return tuple(
        (link[0] - 1, link[1] - 1)
        for link in links
        if isinstance(link, list)
        and len(link) == 2
        and all(type(end) is int and 1 <= end <= count for end in link)
    )


def _mirrors(
    path: str,
    classes: Sequence[str],
    names: Sequence[tuple[str, ...]],
    is_named: Sequence[bool],
    flip_pairs: FlipPairs | None,
) -> tuple[tuple[int, ...], ...] | None:
    flip_pairs = {} if flip_pairs is None else flip_pairs
    if not isinstance(flip_pairs, Mapping):
        flip_pairs = {
            name: flip_pairs
            for name, keypoints in zip(classes, names)
            if keypoints
        }
    unknown = [name for name in flip_pairs if name not in classes]
    if unknown:
        raise InputError(
            f'flip_pairs names {", ".join(unknown)}, but the classes are '
            f'{", ".join(classes)}'
        )
    mirrors = []
    for name, keypoints, has_names in zip(classes, names, is_named):
        mirror: Sequence[int] | None = range(len(keypoints))
        if name in flip_pairs:
            mirror = mirror_of_pairs(
                flip_pairs[name],
                len(keypoints),
                f'{path}: flip_pairs of {name!r}',
            )
        elif len(keypoints) > 1:  # a single one stays
            mirror = mirror_of_names(keypoints) if has_names else None
        if mirror is None:
            return None
        mirrors.append(tuple(mirror))
    return tuple(mirrors)
