"""What the runtimes have in common: files of one image size."""

import importlib
import json
import os
from collections.abc import Mapping, Sequence
from types import ModuleType

import numpy as np

from rfdetr_mm_light.errors import InputError

from ..facts import INSTANCE_SEG, OUTPUTS

Arrays = dict[str, np.ndarray]


class Session:
    """An exported file that is loaded by its runtime.

    Subclasses fill in the attributes and :meth:`_run`.

    Attributes:
        file: The file's name, for messages.
        input_shape: (batch, channels, height, width); None where any number
            will do.
        output_shapes: Name of an output to its shape, None where it is open.
        side_by_side: How many threads may call :meth:`run` at a time.
    """

    file: str
    input_shape: tuple[int | None, ...]
    output_shapes: dict[str, tuple[int | None, ...]]
    side_by_side: int = 1

    @property
    def batch_sizes(self) -> tuple[int, int | None]:
        """(least, largest) number of images at once; None for any."""
        return self.input_shape[0] or 1, self.input_shape[0]

    def run(self, images: np.ndarray) -> Arrays:
        """Run the file on any number of images.

        Args:
            images: float32, shape (bs, channels, height, width), at least one
                image.

        Returns:
            The outputs for all images. Where the file takes fewer images, or
            has one batch size, they come of several runs, the last one filled
            up.

        Raises:
            InputError: If the images are of another size.
        """
        check_image_size(self.file, self.input_shape[1:], images.shape[1:])
        least, largest = self.batch_sizes
        largest = largest or len(images)
        parts: list[Arrays] = []
        for start in range(0, len(images), largest):
            part = images[start : start + largest]
            missing = max(least - len(part), 0)
            filled = np.concatenate([part, part[:1].repeat(missing, axis=0)])
            outputs = self._run(np.ascontiguousarray(filled))
            # Copied, as a runtime may use its memory again
            parts.append(
                {name: x[: len(part)].copy() for name, x in outputs.items()}
            )
        return {
            name: np.concatenate([part[name] for part in parts])
            for name in parts[0]
        }

    def _run(self, images: np.ndarray) -> Arrays:
        raise NotImplementedError


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
            'the file has the size that it was exported for; export the model '
            'again for another one'
        )


def check_cpu(file: str, device: str) -> None:
    """Refuse a device of a runtime that only has the CPU.

    Args:
        file: The name of the file, for the message.
        device: The device that was asked for.

    Raises:
        InputError: If it is another one.
    """
    if device != 'cpu':
        raise InputError(
            f"{file} runs on the CPU only, device='cpu', got {device!r}"
        )


def output_names(
    file: str, texts: Mapping[str, str], count: int
) -> tuple[str, ...]:
    """Names of the outputs of a file that does not name them itself.

    Args:
        file: Its name, for the message.
        texts: Its metadata.
        count: How many outputs it has.

    Returns:
        The names that the metadata give in ``output_names``. Without them,
        those of rfdetr's files, which are boxes, logits and masks in order.

    Raises:
        InputError: If there are other names than outputs.
    """
    try:
        names = json.loads(texts.get('output_names', 'null'))
    except ValueError:
        names = texts['output_names']
    names = list(OUTPUTS[INSTANCE_SEG])[:count] if names is None else names
    if type(names) is not list or len(names) != count:
        raise InputError(
            f'{file} is not a detector of RF-DETR: it has {count} outputs '
            f'with the names {names}'
        )
    return tuple(map(str, names))


def import_runtime(name: str, file: str, install: str) -> ModuleType:
    """Import the runtime of a file.

    Args:
        name: The package or module.
        file: What needs it, for the message.
        install: The command that installs it.

    Raises:
        InputError: If it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition('.')[0]
        raise InputError(
            f'{file} needs the package {package}, which cannot be imported '
            f'({error}): {install}'
        ) from error


def not_readable(file: str, kind: str, error: Exception) -> InputError:
    """What to raise when a runtime refuses a file.

    Args:
        file: Its name.
        kind: What it should be.
        error: The runtime's.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1] if lines else type(error).__name__
    return InputError(f'{file} cannot be read as {kind}: {reason}')


def num_cpus() -> int:
    """Processors that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
