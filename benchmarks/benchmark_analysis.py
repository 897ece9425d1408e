"""Measure what a report's numbers cost, against rfdetr's evaluator.

``python benchmarks/benchmark_analysis.py``: all tables and curves of a report
(AP, precision over recall, F1, confusions, kinds of errors, calibration,
spreads) for synthetic detections, turn by turn with rfdetr's default
evaluator, which computes AP alone; and the memory that they add to that of
the detections. Prints one JSON object.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import clone  # noqa: F401  first: this clone's package and tools
import numpy as np
from coco_evaluators import NUM_CLASSES, synthetic, upstream_evaluation
from paired_rounds import (
    call_alone,
    machine,
    paired_rounds,
    peak_mib,
    ratio,
    say,
    spread,
)

from rfdetr_mm.evaluation.analysis import (
    Detections,
    Objects,
    Scene,
    analyse,
)


def as_scene(images: list[dict[str, Any]]) -> Scene:
    """The columns of what :func:`coco_evaluators.synthetic` gave."""

    def column(name: str) -> np.ndarray:
        return np.concatenate([image[name] for image in images])

    def boxes(name: str) -> np.ndarray:
        corners = column(name).astype(np.float64)
        corners[:, 2:] -= corners[:, :2]
        return corners

    def places(name: str) -> np.ndarray:
        counts = [len(image[name]) for image in images]
        return np.repeat(np.arange(len(images)), counts)

    truth = boxes('boxes')
    objects = Objects(
        places('labels'),
        column('labels'),
        truth,
        truth[:, 2:].prod(axis=1),
        np.zeros(len(truth), bool),
    )
    found = Detections(
        places('found_labels'),
        column('found_labels'),
        boxes('found'),
        column('scores').astype(np.float64),
    )
    names = tuple(f'class {number}' for number in range(NUM_CLASSES))
    ids = tuple(range(len(images)))
    return Scene('bbox', names, ids, ('',) * len(ids), objects, found)


def memory(num_images: int, num_detections: int) -> dict[str, float]:
    """Peak of this process, in MiB, with the detections and with numbers."""
    scene = as_scene(synthetic(num_images, num_detections))
    before = peak_mib()
    analyse(scene)
    return dict(detections_mib=before, peak_mib=peak_mib())


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure and print."""
    parser = argparse.ArgumentParser(description='What a report costs')
    parser.add_argument('--images', type=int, default=5000)
    parser.add_argument('--detections', type=int, default=300)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--out', type=Path, help='also write it here')
    args = parser.parse_args(argv)
    size = (args.images, args.detections)
    found = dict(
        machine=machine(),
        images=args.images,
        detections=args.detections,
        memory=call_alone(memory, *size),
    )
    images = synthetic(*size)
    scene = as_scene(images)
    upstream = upstream_evaluation(images)
    ap = dict(
        report=analyse(scene).numbers['overall']['AP'], rfdetr=upstream()
    )
    seconds = paired_rounds(
        dict(report=lambda: analyse(scene), rfdetr=upstream),
        args.rounds,
        say,
    )
    found.update(
        ap=ap,
        seconds={name: spread(values) for name, values in seconds.items()},
        ratio=ratio(seconds['report'], seconds['rfdetr']),
    )
    text = json.dumps(found, indent=1)
    print(text)
    if args.out is not None:
        args.out.write_text(text)
    return found


if __name__ == '__main__':
    main()
