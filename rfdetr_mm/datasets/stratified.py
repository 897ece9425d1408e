"""Divide groups of images into parts that have equal shares of each class."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from rfdetr_mm.errors import InputError

_TOLERANCE = 1e-6  # of the sum of the shares


def divide(
    objects: Sequence[Mapping[Hashable, int]],
    images: Sequence[int],
    shares: Sequence[float],
    seed: int,
) -> list[int]:
    """Choose a part for each group.

    Classes are taken from the rarest to the most frequent one, counted anew
    in the groups that are left. The groups with objects of the class, those
    with many first, go to parts that lack some of them, each to the part where
    it brings all classes, and the number of images, nearest to their shares.
    Groups without objects fill up the numbers of images.

    With k parts, and at most m objects of a class in one group, the rarest
    class has in each part less than (k - 1) * m objects more or less than its
    share. This holds for all classes where no group has two of them. Of other
    classes it is usual but not proved.
    An exception is made where a part would get no objects at all: then it
    gets one group of the part that has most groups.

    Args:
        objects: Number of objects of each class, for each group.
        images: Number of images of each group.
        shares: The share of each part, positive, with the sum 1.
        seed: The seed of the order of groups that are alike.

    Returns:
        Of each group the number of its part.

    Raises:
        InputError: If the shares are none, or there are fewer groups with
            objects than parts.

    Source: iterative stratification, Sechidis, Tsoumakas and Vlahavas, On
        the Stratification of Multi-Label Data, 2011.
    """
    check_shares(shares)
    num_with_objects = sum(any(counts.values()) for counts in objects)
    if num_with_objects < len(shares):
        raise InputError(
            f'{len(shares)} parts need at least as many images, or groups of '
            f'images, with objects, but there are {num_with_objects} (of '
            f'{len(objects)}). Ask for fewer parts, or make smaller groups.'
        )
    order = np.random.default_rng(seed).permutation(len(objects)).tolist()
    lacking = _Lacking(objects, images, shares)
    parts: dict[int, int] = {}
    while True:
        rest = [group for group in order if group not in parts]
        rarest = _rarest(objects, rest)
        if rarest is None:
            break
        chosen = [group for group in rest if objects[group].get(rarest)]
        chosen.sort(key=lambda group: -objects[group][rarest])
        for group in chosen:
            parts[group] = lacking.take(group, rarest)
    for group in sorted(rest, key=lambda group: -images[group]):
        parts[group] = lacking.take(group, None)
    _fill_empty_parts(parts, objects, order, len(shares))
    return [parts[group] for group in range(len(objects))]


class _Lacking:
    """What the parts lack of their shares, in objects and images."""

    def __init__(
        self,
        objects: Sequence[Mapping[Hashable, int]],
        images: Sequence[int],
        shares: Sequence[float],
    ) -> None:
        names = dict.fromkeys(name for counts in objects for name in counts)
        self._row_of = {name: row for row, name in enumerate(names)}
        # In the last row, and the last of a group's numbers, images.
        self._rows = [
            [*(self._row_of[name] for name in counts), len(names)]
            for counts in objects
        ]
        self._numbers = [
            np.array([*counts.values(), number], float)
            for counts, number in zip(objects, images)
        ]
        totals = np.zeros(len(names) + 1)
        for rows, numbers in zip(self._rows, self._numbers):
            totals[rows] += numbers
        self._lacking = totals[:, None] * np.asarray(shares)
        self._wanted = np.maximum(self._lacking, _TOLERANCE)

    def take(self, group: int, name: Hashable | None) -> int:
        """Choose the part of a group, by a class or by images alone."""
        rows, numbers = self._rows[group], self._numbers[group]
        # By so much the sum of (found - wanted)^2 / wanted falls.
        falls = numbers[:, None] * (2 * self._lacking[rows] - numbers[:, None])
        gains = (falls / self._wanted[rows]).sum(axis=0)
        lacking = self._lacking[self._row_of.get(name, -1)]
        # Rounding may leave none that lacks any; the last group goes anywhere.
        if (lacking > _TOLERANCE).any():
            gains[lacking <= _TOLERANCE] = -np.inf
        part = int(np.argmax(gains))
        self._lacking[rows, part] -= numbers
        return part


def check_shares(shares: Sequence[float]) -> None:
    """Raise an InputError unless shares are positive and have the sum 1.

    Args:
        shares: Two or more.

    Raises:
        InputError: With their sum.
    """
    total = sum(shares)
    is_right = abs(total - 1) <= _TOLERANCE  # not so if it is no number
    if len(shares) < 2 or not all(s > 0 for s in shares) or not is_right:
        given = ' + '.join(f'{share:g}' for share in shares)
        raise InputError(
            'The shares of the parts must be two or more positive numbers '
            f'whose sum is 1, but are {given} = {total:g}. Such are 0.8 0.1 '
            '0.1, for training, validation and test.'
        )


def _rarest(
    objects: Sequence[Mapping[Hashable, int]], groups: Sequence[int]
) -> Hashable | None:
    """The class with the fewest objects in the groups, None without any."""
    totals: dict[Hashable, int] = {}
    for group in groups:
        for name, number in objects[group].items():
            if number:
                totals[name] = totals.get(name, 0) + number
    return min(totals, key=lambda n: (totals[n], str(n)), default=None)


def _fill_empty_parts(
    parts: dict[int, int],
    objects: Sequence[Mapping[Hashable, int]],
    order: Sequence[int],
    num_parts: int,
) -> None:
    """Give parts without objects a group of the part that has most."""
    with_objects = [group for group in order if any(objects[group].values())]
    for part in range(num_parts):
        sizes = [0] * num_parts
        for group in with_objects:
            sizes[parts[group]] += 1
        if not sizes[part]:
            giver = sizes.index(max(sizes))
            smallest = min(
                (group for group in with_objects if parts[group] == giver),
                key=lambda group: sum(objects[group].values()),
            )
            parts[smallest] = part
