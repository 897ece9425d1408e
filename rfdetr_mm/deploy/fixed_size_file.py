"""Runs files of one image size, and maybe of one batch size."""

from collections.abc import Callable, Sequence

import numpy as np

from rfdetr_mm.errors import InputError

Arrays = dict[str, np.ndarray]


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
    if any(
        wanted not in (None, given)
        for wanted, given in zip(size, images.shape[1:], strict=True)
    ):
        raise InputError(
            f'{file} takes images of shape {tuple(size)}, got '
            f'{tuple(images.shape[1:])}: use the deploy config that it was '
            'exported with'
        )
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
