"""Image files of a data set: missing, unreadable, turned, copied, sizes."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from statistics import median_low
from typing import Any

from rfdetr_mm.errors import InputError
from rfdetr_mm_light.files import add_file
from rfdetr_runtime.image_file import (
    IMAGE_SUFFIXES,
    BrokenImageError,
    ImageFileError,
    read_rgb,
    read_size,
)

from .findings import ERROR, NOTE, WARNING, Findings
from .image_folders import compare_with_folders
from .orientation import may_be_turned
from .transforms.load_image import check_size
from .yolo_layout import YoloLayout, read_lines

_NUM_SHOWN_SIZES = 5


def check_pictures(
    name: str,
    images: Sequence[dict[str, Any]],
    paths: Sequence[str],
    sizes_given: bool,
    decode: bool,
    findings: Findings,
) -> dict[str, Any]:
    """Look at the image files of a split.

    Args:
        name: The name of the split.
        images: Entries of images with ``id``, ``height`` and ``width`` in
            pixels. Those that are None are filled in.
        paths: The paths of their files.
        sizes_given: Whether the sizes are of the annotation file, not of the
            image files.
        decode: Whether to decode all pixels, which finds files that are cut
            off, instead of the headers alone.
        findings: List to which what is found is appended.

    Returns:
        ``sizes`` in pixels, ``orientations``, EXIF's number to how many
        images have it, and ``missing``, image files that are not there.
    """
    missing, _ = compare_with_folders(paths)
    gone = {*missing}
    if missing:
        text = (
            f'{name}: {len(missing)} of {len(paths)} image files are not '
            'there. Copy them, or remove them from the annotation file.'
        )
        findings.add(
            *(ERROR, 'missing images', text, name), len(missing), missing
        )
    sizes, orientations = Counter(), Counter()
    turned = []
    for image, path in zip(images, paths):
        found = None if path in gone else _read(name, path, decode, findings)
        if found is None:
            continue
        size, orientation = found
        sizes[size] += 1
        orientations[orientation] += 1
        given = (image['height'], image['width']) if sizes_given else None
        if image['height'] is None:
            image['height'], image['width'] = size
        elif not _has_size(name, image, path, size, findings):
            continue
        if may_be_turned(orientation, *(given or (None, None))):
            turned.append(path)
            findings.suspect(path, f'{name}: EXIF orientation {orientation}')
    _report_turned(name, turned, findings)
    return dict(
        sizes=_summary(sizes),
        orientations={str(k): n for k, n in sorted(orientations.items())},
        missing=len(missing),
    )


def _read(
    name: str, path: str, decode: bool, findings: Findings
) -> tuple[tuple[int, int], int] | None:
    """(height, width) and the orientation of a picture that can be taken."""
    try:
        found = read_size(path)
        if decode:
            read_rgb(path, path)
        return found
    except BrokenImageError as error:
        # Training draws another image, an evaluation stops.
        level = WARNING if name == 'train' else ERROR
        what = 'images cannot be read'
        findings.count(level, 'unreadable image', name, what, str(error))
    except (OSError, ImageFileError) as error:
        what = 'images cannot be used'
        findings.count(ERROR, 'unusable image', name, what, str(error))
    return None


def _has_size(
    name: str,
    image: dict[str, Any],
    path: str,
    size: tuple[int, int],
    findings: Findings,
) -> bool:
    height, width = image['height'], image['width']
    results = dict(
        img_path=path, img_id=image['id'], height=height, width=width
    )
    try:
        check_size(results, size)
    except InputError as error:
        what = 'images have another size than the annotation file says'
        findings.count(ERROR, 'another size', name, what, str(error))
        findings.suspect(path, f'{name}: not {height} x {width} px')
        return False
    return True


def _report_turned(name: str, turned: list[str], findings: Findings) -> None:
    if turned:
        text = (
            f'{name}: {len(turned)} images have an EXIF orientation other '
            'than 1, and nothing tells on which picture the labels were '
            'drawn. Pixels are taken as they are stored; if the labels are '
            'of the turned pictures, train and evaluate with '
            'apply_orientation=True, or save them turned.'
        )
        findings.add(
            *(WARNING, 'turned images', text, name), len(turned), turned
        )


def _summary(sizes: Counter[tuple[int, int]]) -> dict[str, Any]:
    """Smallest, middle and largest sides, and the most frequent sizes."""
    if not sizes:
        return {}
    content: dict[str, Any] = {}
    for axis, side in enumerate(('height', 'width')):
        values = [
            size[axis] for size, number in sizes.items() for _ in range(number)
        ]
        content[side] = dict(
            min=min(values), median=median_low(values), max=max(values)
        )
    content['different'] = len(sizes)
    content['most_frequent'] = [
        dict(height=height, width=width, images=number)
        for (height, width), number in sizes.most_common(_NUM_SHOWN_SIZES)
    ]
    return content


def check_copies(
    paths_of: Mapping[str, Sequence[str]], findings: Findings
) -> list[list[str]]:
    """Look for images that are in the data set more than once.

    Args:
        paths_of: Split to paths of its image files.
        findings: List to which what is found is appended.

    Returns:
        Paths of the files with equal bytes, a list for each such picture.
    """
    split_of = defaultdict(set)
    for name, paths in paths_of.items():
        for path in paths:
            split_of[os.path.realpath(path)].add(name)
    groups = _equal_files(split_of)
    across = [
        group for group in groups if len(_splits(group, split_of)) > 1
    ] + [[path] for path, names in split_of.items() if len(names) > 1]
    within = [group for group in groups if group not in across]
    if across:
        text = (
            f'{len(across)} images are in more than one split, byte by byte, '
            'so that the evaluation is of images that were trained on. '
            'Remove them from all splits but one.'
        )
        examples = [' = '.join(group) for group in across]
        findings.add(
            *(WARNING, 'copies between splits', text, None),
            len(across),
            examples,
        )
    if within:
        text = f'{len(within)} images are in one split more than once.'
        examples = [' = '.join(group) for group in within]
        findings.add(
            NOTE, 'copies in a split', text, None, len(within), examples
        )
    for group in across:
        names = ' and '.join(sorted(_splits(group, split_of)))
        findings.suspect(group[0], f'the same in {names}')
    _report_names(split_of, {path for g in across for path in g}, findings)
    return groups


def _splits(
    group: Sequence[str], split_of: Mapping[str, set[str]]
) -> set[str]:
    return set(chain.from_iterable(split_of[path] for path in group))


def _equal_files(paths: Mapping[str, Any]) -> list[list[str]]:
    """Groups of files with the same bytes; only equal lengths are read."""
    of_length = defaultdict(list)
    for path in paths:
        if os.path.isfile(path):
            of_length[os.path.getsize(path)].append(path)
    groups = defaultdict(list)
    for length, files in of_length.items():
        if length and len(files) > 1:
            for path in files:
                groups[_digest(path)].append(path)
    return [sorted(group) for group in groups.values() if len(group) > 1]


def _digest(path: str) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    add_file(digest, path)
    return digest.digest()


def _report_names(
    split_of: Mapping[str, set[str]], known: set[str], findings: Findings
) -> None:
    """Note file names that several splits have for different pictures."""
    of_name = defaultdict(list)
    for path in split_of:
        if path not in known:
            of_name[os.path.basename(path)].append(path)
    shared = [
        paths
        for paths in of_name.values()
        if len(paths) > 1 and len(_splits(paths, split_of)) > 1
    ]
    if shared:
        text = (
            f'{len(shared)} file names are in more than one split, for '
            'pictures that differ.'
        )
        examples = [' and '.join(paths) for paths in shared]
        findings.add(NOTE, 'same names', text, None, len(shared), examples)


def check_unlisted(
    paths_of: Mapping[str, Sequence[str]], findings: Findings
) -> int:
    """Count image files that lie beside the listed ones.

    Args:
        paths_of: Split to paths of its image files.
        findings: List to which what is found is appended.

    Returns:
        How many there are.
    """
    listed = [path for paths in paths_of.values() for path in paths]
    _, unlisted = compare_with_folders(list(dict.fromkeys(listed)))
    if unlisted:
        text = (
            f'{len(unlisted)} image files beside the listed ones are not '
            'listed and not used. If they show none of the objects, add them '
            'to images, without annotations: they teach the background.'
        )
        findings.add(
            NOTE, 'unlisted images', text, None, len(unlisted), unlisted
        )
    return len(unlisted)


def check_label_files(
    layout: YoloLayout,
    paths_of: Mapping[str, Sequence[str]],
    findings: Findings,
) -> None:
    """Look for images without a label file, and the other way round.

    Args:
        layout: Tells where the labels of an image lie.
        paths_of: Split to paths of its image files.
        findings: List to which what is found is appended.
    """
    labels = {
        layout.label_path(Path(path))
        for path in chain.from_iterable(paths_of.values())
    }
    missing = sorted(str(path) for path in labels if not path.is_file())
    if missing:
        text = (
            f'{len(missing)} of {len(labels)} images have no label file and '
            'count as background.'
        )
        findings.add(NOTE, 'no label file', text, None, len(missing), missing)
    folders = {path.parent for path in labels}
    unused = sorted(
        str(path)
        for folder in folders
        for path in folder.glob('*.txt')
        if path not in labels and _holds_objects(path)
    )
    if unused:
        text = (
            f'{len(unused)} label files belong to no image of a split, so '
            'that their objects are not used: the image has another name, is '
            'not there, or is not of a kind that is read '
            f'({" ".join(IMAGE_SUFFIXES)}).'
        )
        findings.add(
            WARNING, 'labels without image', text, None, len(unused), unused
        )


def _holds_objects(path: Path) -> bool:
    """Whether a text file is not a list of classes or of images."""
    try:
        words = read_lines(path)[0].split()
        return len([float(word) for word in words]) > 4
    except (InputError, IndexError, ValueError):
        return False
