"""Run ``rfdetr-mm predict --engine ray``, by any model."""

import argparse
import sys
import time

from ..scale import FileLoader, predict_on_ray
from ..scale.models import Loader
from ..scale.places import absolute

_LINE_SECONDS = 10


def file_loader(args: argparse.Namespace) -> FileLoader:
    """The exported file of ``--weights``, as workers load it.

    Args:
        args: The parsed options.
    """
    return FileLoader(absolute(args.weights), args.device, args.precision)


def run_on_ray(args: argparse.Namespace, loader: Loader) -> None:
    """Detect, and say what was written.

    Args:
        args: The parsed options.
        loader: The model that they name.

    Raises:
        InputError: If model, images, cluster or folder cannot be used.
    """
    done = predict_on_ray(
        args.inputs,
        args.out_dir,
        loader,
        threshold=args.threshold,
        classes=args.classes,
        # 1 unless given: a file may take another number only.
        batch_size=None if args.batch_size == 1 else args.batch_size,
        address=args.address,
        num_models=args.num_models,
        to_coco=args.to_coco,
        progress=Progress(),
    )
    reused = (
        f', {done.num_reused} of an earlier run' if done.num_reused else ''
    )
    errors = (
        f', {done.num_errors} images have an error instead'
        if done.num_errors
        else ''
    )
    coco = ' and coco.json' if args.to_coco else ''
    print(
        f'{done.folder}: {done.num_images} rows{reused}; '
        f'{done.num_detections} objects{errors}; index.json{coco} in it'
    )


class Progress:
    """Shows how far a run is: a line that changes, or a line now and then."""

    def __init__(self) -> None:
        self._since: tuple[float, int] | None = None
        self._shown = 0.0

    def __call__(self, done: int, total: int) -> None:
        """Show it.

        Args:
            done: Images that have a row.
            total: All images.
        """
        now = time.monotonic()
        if self._since is None:
            self._since = now, done
        is_terminal = sys.stderr.isatty()
        if done < total and now - self._shown < (
            0.2 if is_terminal else _LINE_SECONDS
        ):
            return
        self._shown = now
        start, before = self._since
        rate = (done - before) / max(now - start, 1e-9)
        left = (total - done) / rate if rate else 0
        text = (
            f'{done}/{total} images, {rate:.1f} per second, {left:.0f} s left'
        )
        if is_terminal:
            end = '\n' if done == total else ''
            print(f'\r{text}\x1b[K', end=end, file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)
