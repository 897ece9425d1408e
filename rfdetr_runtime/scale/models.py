"""Models as the workers of a cluster load them."""

import hashlib
import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rfdetr_mm_light.files import add_file

from ..detections import Detections
from ..exported_model import ExportedModel, load, prepare_picture


@dataclass(frozen=True)
class ModelFacts:
    """What the other workers must know about a model.

    Attributes:
        name: The name of its file.
        sha256: The hash of its file.
        class_names: Number i is the label i.
        input_hw: (height, width) in pixels of the network's input.
        batch_size: Images at once, where the model leaves no choice.
        prepare: Makes of a decoded picture what :meth:`LoadedModel.detect`
            takes; it runs where the picture is decoded.
    """

    name: str
    sha256: str
    class_names: tuple[str, ...]
    input_hw: tuple[int, int]
    batch_size: int | None
    prepare: Callable[[np.ndarray], np.ndarray] = field(repr=False)


class LoadedModel(Protocol):
    """A model in a worker."""

    facts: ModelFacts

    def detect(
        self,
        images: Sequence[np.ndarray],
        sizes_hw: Sequence[tuple[int, int]],
        threshold: float,
    ) -> list[Detections]:
        """Detect objects in a batch, as ``predict()`` does.

        Args:
            images: Results of ``facts.prepare``.
            sizes_hw: (height, width) in pixels of each image before.
            threshold: Scores must be greater.

        Returns:
            The detections of each image.
        """


class Loader(Protocol):
    """What workers load: it is sent to them, and called there.

    Attributes:
        gpu: Whether a worker needs a GPU; None: if the cluster has some.
        settings: What results depend on besides the weights.
    """

    gpu: bool | None
    settings: dict[str, Any]

    def load(self, gpu: bool) -> LoadedModel:
        """Load the model.

        Args:
            gpu: Whether the worker has a GPU for it.
        """


@dataclass(frozen=True)
class FileLoader:
    """Loads an exported file.

    Args:
        path: The file, which every machine of the cluster must have there.
        device: ``'cpu'``, ``'cuda'``, or None for the usual one of its
            runtime.
        precision: See :func:`~rfdetr_runtime.exported_model.load`.
        threads: The number of threads of a model.
    """

    path: str
    device: str | None = None
    precision: str | None = None
    threads: int = 1

    @property
    def gpu(self) -> bool:
        """Whether it runs on a GPU."""
        return self.path.endswith('.engine') or self.device == 'cuda'

    @property
    def settings(self) -> dict[str, Any]:
        """What results depend on besides the file."""
        return dict(precision=self.precision)

    def load(self, gpu: bool) -> '_FileModel':
        """Load the file.

        Args:
            gpu: Not looked at: the device is known.

        Raises:
            InputError: If it cannot be used.
        """
        return _FileModel(self)

    def load_file(self) -> ExportedModel:
        """Load the file as :func:`~rfdetr_runtime.exported_model.load` does.

        Returns:
            The model.

        Raises:
            InputError: If it cannot be used.
        """
        return load(
            self.path,
            device=self.device,
            precision=self.precision,
            threads=None if self.gpu else self.threads,
        )


class _FileModel:
    def __init__(self, loader: FileLoader) -> None:
        self._model = loader.load_file()
        self.facts = ModelFacts(
            name=Path(loader.path).name,
            sha256=file_sha256(loader.path),
            class_names=tuple(self._model.class_names),
            input_hw=self._model.input_hw,
            batch_size=self._model.batch_size,
            prepare=FilePreparation(self._model.facts, self._model.input_hw),
        )

    def detect(
        self,
        images: Sequence[np.ndarray],
        sizes_hw: Sequence[tuple[int, int]],
        threshold: float,
    ) -> list[Detections]:
        return self._model.detect(np.stack(images), sizes_hw, threshold)


@dataclass(frozen=True)
class FilePreparation:
    """Resizes and normalises pictures for an exported file.

    Args:
        facts: What the file says.
        input_hw: (height, width) in pixels that it takes.
    """

    facts: Any
    input_hw: tuple[int, int]

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Prepare a picture.

        Args:
            picture: RGB, uint8, shape (h, w, 3).

        Returns:
            float32, shape (3, height, width).
        """
        return prepare_picture(picture, self.facts, self.input_hw)


@dataclass(frozen=True)
class LateResizing:
    """Resizes only pictures that are larger than the network's input.

    What is smaller goes to the model as it was decoded, in fewer bytes. The
    function is named and not given, so that a worker imports its module, and
    torch with it, only when there is such a picture.

    Args:
        input_hw: (height, width) in pixels of the network's input.
        function: ``MODULE:FUNCTION`` that resizes a picture to it; None:
            nothing is resized here, because a GPU will do it.
    """

    input_hw: tuple[int, int]
    function: str | None

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Resize a picture, or leave it.

        Args:
            picture: RGB, uint8, shape (h, w, 3).

        Returns:
            The picture, or what the function gives.
        """
        height, width = self.input_hw
        num_bytes = 3 * height * width * np.dtype(np.float32).itemsize
        if self.function is None or picture.nbytes <= num_bytes:
            return picture
        module, _, name = self.function.partition(':')
        resize = getattr(importlib.import_module(module), name)
        return resize(picture, self.input_hw)


def file_sha256(path: str | os.PathLike[str]) -> str:
    """The hash of a file, and of what belongs to it.

    OpenVINO's weights are in a ``.bin`` file beside the ``.xml``; ncnn's
    models are folders.

    Args:
        path: The file, or the folder that stands for one.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    files = [Path(path)]
    if files[0].is_dir():
        files = sorted(file for file in files[0].iterdir() if file.is_file())
    elif files[0].suffix.lower() == '.xml':
        files.append(files[0].with_suffix('.bin'))
    for file in files:
        add_file(digest, file)
    return digest.hexdigest()
