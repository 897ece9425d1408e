"""Run ``rfdetr-mm predict``: detect objects in images, by any model.

Its options are in ``rfdetr_mm_light/command_line/predict.py``.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rfdetr_mm_light.errors import InputError
from rfdetr_mm_light.files import atomic_file, check_writable

from ..classes import class_ids
from ..detection_files import (
    as_detections,
    paint,
    to_coco,
    to_record,
    write_json,
)
from ..exported_model import ExportedModel
from ..image_file import IMAGE_SUFFIXES, list_images
from ..sessions.session import num_cpus
from .on_ray import file_loader, run_on_ray
from .options import load_file

Detect = Callable[[Any, Sequence[str], argparse.Namespace], Iterator[Any]]


def run(args: argparse.Namespace) -> None:
    """Detect by an exported file, print, write.

    Args:
        args: The parsed options.

    Raises:
        InputError: If file, images or classes cannot be used.
    """
    if args.engine == 'ray':
        run_on_ray(args, file_loader(args))
        return
    # One image is worked on by all processors, many by one each.
    several = min(len(find_images(args.inputs)), num_cpus())
    predict(args, partial(load_file, side_by_side=several), _each)


def predict(
    args: argparse.Namespace,
    load_model: Callable[[argparse.Namespace], Any],
    detect: Detect | None = None,
) -> None:
    """Detect, print, write.

    Args:
        args: The parsed options.
        load_model: Gives the model that they name, which has
            ``predict(images, threshold=…)`` and ``class_names``.
        detect: Gives the detections of each file by the model; batch by batch
            unless given.

    Raises:
        InputError: If model, images or classes cannot be used.
    """
    save = args.save or ('images', 'json')
    files = find_images(args.inputs)
    if args.out_dir is not None:  # before weights are downloaded
        check_writable(args.out_dir)
    model = load_model(args)
    kept = class_ids(args.classes, model.class_names)
    records = []
    names = _unique_names(files)
    results = (detect or _in_batches)(model, files, args)
    for file, found in zip(files, results, strict=True):
        found = as_detections(file, found)
        if kept is not None:
            found = found[np.isin(found.class_id, kept)]
        records.append(to_record(file, found))
        print(json.dumps(records[-1]) if args.json else _line(records[-1]))
        if args.out_dir is not None and 'images' in save:
            _save(paint(found), args.out_dir / 'images' / names[file])
    if args.out_dir is None:
        return
    if 'json' in save:
        write_json(records, args.out_dir / 'predictions.json')
    if 'coco' in save:
        content = to_coco(records, model.class_names)
        write_json(content, args.out_dir / 'coco.json')
    if not args.json:
        print(f'{", ".join(save)} in {args.out_dir}')


def _save(picture: Image.Image, path: Path) -> None:
    with atomic_file(path) as file:
        picture.save(file, Image.registered_extensions()[path.suffix])


def find_images(inputs: Sequence[str]) -> list[str]:
    """List the images that paths, folders and addresses name.

    Raises:
        InputError: If a path does not exist, or a folder has no images.
    """
    files: list[str] = []
    for name in inputs:
        path = Path(name)
        if '://' in name or path.is_file():
            files.append(name)
            continue
        if not name or not path.is_dir():
            shown = name or '(an empty path)'
            raise InputError(f'there is no image or folder {shown}')
        found = [str(file) for file in list_images(path)]
        if not found:
            raise InputError(
                f'the folder {name} has no images '
                f'({", ".join(IMAGE_SUFFIXES)})'
            )
        files += found
    return list(dict.fromkeys(files))


def _unique_names(files: Sequence[str]) -> dict[str, str]:
    """Names for painted images: those of the images, made unique."""
    names: dict[str, str] = {}
    for file in files:
        path = Path(file.partition('?')[0])
        suffix = path.suffix.lower()
        if suffix not in ('.jpg', '.jpeg', '.png', '.webp', '.bmp'):
            suffix = '.png'
        name, number = path.stem + suffix, 2
        while name in names.values():
            name, number = f'{path.stem}_{number}{suffix}', number + 1
        names[file] = name
    return names


def _each(
    model: ExportedModel, files: Sequence[str], args: argparse.Namespace
) -> Iterator[Any]:
    return model.predict_each(
        files, args.threshold, batch_size=args.batch_size
    )


def _in_batches(
    model: Any, files: Sequence[str], args: argparse.Namespace
) -> Iterator[Any]:
    for start in range(0, len(files), args.batch_size):
        batch = list(files[start : start + args.batch_size])
        yield from model.predict(batch, threshold=args.threshold)


def _line(record: dict[str, Any]) -> str:
    counts = Counter(d['class_name'] for d in record['detections'])
    objects = ', '.join(f'{n} {name}' for name, n in counts.most_common())
    size = f'{record["width"]} x {record["height"]}'
    return f'{record["file"]} ({size}): {objects or "nothing"}'
