"""Runs files of one image size, and maybe of one batch size."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmdeploy.backend.base import BaseWrapper
from torch import Tensor

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
        given: The sizes of the images.

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


class FixedSizeWrapper(BaseWrapper):
    """Runs a file on the CPU, behind the interface of mmdeploy.

    A subclass says in ``_run`` how numpy images become outputs by name, and
    in ``axes`` in which order the file wants (bs, channels, h, w).

    Args:
        file: The file.
        shape: Shape of the images that it takes, in its own order; None
            where any number will do.
        known: Outputs of the file.
        wanted: Some of them, in order; all of them if None.

    Raises:
        InputError: If the file lacks an output.
    """

    axes = (0, 1, 2, 3)

    def __init__(
        self,
        file: str,
        shape: Sequence[int | None],
        known: Sequence[str],
        wanted: Sequence[str] | None,
    ) -> None:
        self._file, self._shape = str(file), shape
        super().__init__(choose_outputs(file, known, wanted))

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Run the model.

        Args:
            inputs: One entry, images of shape (bs, channels, h_px, w_px).

        Returns:
            The wanted outputs by name.

        Raises:
            InputError: If the images are of another size.
        """
        (images,) = inputs.values()
        images = images.detach().cpu().permute(self.axes).numpy()
        outputs = run_in_parts(self._run, images, self._shape, self._file)
        return {
            name: torch.from_numpy(outputs[name]) for name in self.output_names
        }

    def _run(self, images: np.ndarray) -> Arrays:
        raise NotImplementedError
