"""Runs files of one image size, and maybe of one batch size."""

from collections.abc import Callable, Sequence

import numpy as np

from rfdetr_mm.errors import InputError

Arrays = dict[str, np.ndarray]


def choose_outputs(
    file: str, known: Sequence[str], wanted: Sequence[str] | None
) -> Sequence[str]:
    """Names of the outputs that a wrapper gives.

    Args:
        file: Its name, for the message.
        known: Outputs of the file.
        wanted: Some of them, in order; all unless given.

    Returns:
        The wanted ones.

    Raises:
        InputError: If the file lacks one of them.
    """
    if not set(wanted or ()) <= set(known):
        raise InputError(
            f'{file} has the outputs {known}, wanted are {list(wanted)}: use '
            'the deploy config that it was exported with'
        )
    return wanted or known


def check_image_size(
    file: str, size: Sequence[int | None], given: Sequence[int]
) -> None:
    """Refuse images that a file does not take.

    Args:
        file: Its name, for the message.
        size: Sides of an image in the file; None where any number will do.
        given: Those of the images.

    Raises:
        InputError: If they differ.
    """
    if any(
        wanted not in (None, side)
        for wanted, side in zip(size, given, strict=True)
    ):
        raise InputError(
            f'{file} takes images of shape {tuple(size)}, got {tuple(given)}: '
            'use the deploy config that it was exported with'
        )


def run_in_parts(
    run: Callable[[np.ndarray], Arrays],
    images: np.ndarray,
    shape: Sequence[int | None],
    file: str,
) -> Arrays:
    """Run a file on any number of images.

    Args:
        run: Images to outputs by name.
        images: A batch, at least one image.
        shape: What the file takes; None where any number will do.
        file: Its name, for the message.

    Returns:
        The outputs for all images. Where the file has one batch size, they
        come of several runs, the last one filled up.

    Raises:
        InputError: If the images are of another size.
    """
    batch_size, *size = shape
    check_image_size(file, size, images.shape[1:])
    if batch_size is None:
        batch_size = len(images)
    missing = -len(images) % batch_size
    padded = np.concatenate([images, images[:1].repeat(missing, axis=0)])
    parts = [
        # Copied, as a runtime may use its memory again
        {name: x.copy() for name, x in run(np.ascontiguousarray(part)).items()}
        for part in np.split(padded, len(padded) // batch_size)
    ]
    return {
        name: np.concatenate([part[name] for part in parts])[: len(images)]
        for name in parts[0]
    }
