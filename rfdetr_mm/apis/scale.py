"""Checkpoints for :func:`rfdetr_runtime.scale.predict_on_ray`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rfdetr_mm.sizes.identify import find_size
from rfdetr_runtime import Detections
from rfdetr_runtime.scale.models import (
    LateResizing,
    ModelFacts,
    file_sha256,
)

from .arguments import input_shape
from .detections import to_arrays
from .images import LoadedImage, resize_image
from .rfdetr import CLASSES, RFDETR
from .weights import locate_weights


@dataclass(frozen=True)
class CheckpointLoader:
    """Loads a checkpoint of rfdetr or of this package in a worker of Ray.

    Args:
        weights: A path, which every machine of the cluster must have, or the
            name of a published file, which each of them downloads once.
        size: Such as ``'nano'``, where the file does not say it.
        device: ``'cpu'``, ``'cuda'``, or None for GPUs if the cluster has
            some.
        resolution: Side in pixels of the square that images are resized to;
            that of the model by default.
        threads: The number of threads of a model on a CPU.
        accept_platform_model_license: Whether PML-1.0 is accepted.
    """

    weights: str
    size: str | None = None
    device: str | None = None
    resolution: int | None = None
    threads: int = 1
    accept_platform_model_license: bool = False

    @property
    def gpu(self) -> bool | None:
        """Whether it runs on a GPU; None: if the cluster has one."""
        return None if self.device is None else self.device == 'cuda'

    @property
    def settings(self) -> dict[str, Any]:
        """What results depend on besides the weights: nothing more."""
        return {}

    def load(self, gpu: bool) -> 'CheckpointModel':
        """Load the weights.

        Args:
            gpu: Whether the worker has a GPU.

        Returns:
            The model.

        Raises:
            InputError: If there is no such file, or it does not fit.
            ConnectionError: If a published file cannot be downloaded.
        """
        accepted = self.accept_platform_model_license
        path = locate_weights(self.weights, accepted)
        fields: dict[str, Any] = dict(
            device='cuda' if gpu else 'cpu',
            accept_platform_model_license=accepted,
        )
        if self.resolution is not None:
            fields['resolution'] = self.resolution
        if not gpu:
            torch.set_num_threads(self.threads)
        if self.size is None:
            model = RFDETR.from_checkpoint(path, **fields)
        else:
            model_class = CLASSES[find_size(self.size).class_name]
            model = model_class(pretrain_weights=path, **fields)
        return CheckpointModel(model, path)


class CheckpointModel:
    """A model that predicts batches of pictures.

    Args:
        model: The model.
        path: The file of its weights.

    Attributes:
        facts: What other workers must know.
    """

    def __init__(self, model: RFDETR, path: str) -> None:
        self._context = model.model
        self._names = model.class_names
        input_hw = input_shape(None, model.model_config)
        self.facts = ModelFacts(
            name=Path(path).name,
            sha256=file_sha256(path),
            class_names=tuple(self._names),
            input_hw=input_hw,
            batch_size=None,
            prepare=LateResizing(
                input_hw,
                None
                if self._context.device.type == 'cuda'
                else f'{__name__}:{resize_picture.__name__}',
            ),
        )

    def detect(
        self,
        images: Sequence[np.ndarray],
        sizes_hw: Sequence[tuple[int, int]],
        threshold: float,
    ) -> list[Detections]:
        """Detect objects in a batch, as ``predict()`` does.

        Args:
            images: RGB, uint8, shape (h, w, 3), or results of
                :func:`resize_picture`.
            sizes_hw: (height, width) in pixels of each image before.
            threshold: Scores must be greater.

        Returns:
            The detections of each image.
        """
        loaded = [LoadedImage(_tensor(image), None) for image in images]
        found = self._context.detect(
            loaded, self.facts.input_hw, threshold, sizes_hw
        )
        return [
            to_arrays(instances, self._names, size_hw, None)
            for instances, size_hw in zip(found, sizes_hw, strict=True)
        ]


def resize_picture(
    picture: np.ndarray, size_hw: tuple[int, int]
) -> np.ndarray:
    """Resize a picture on the CPU as ``predict()`` does.

    Args:
        picture: RGB, uint8, shape (h, w, 3).
        size_hw: (height, width) in pixels.

    Returns:
        float32 in [0, 1], shape (3, height, width).
    """
    pixels = resize_image(_tensor(picture), size_hw, torch.device('cpu'))
    return pixels[0].numpy()


def _tensor(image: np.ndarray) -> torch.Tensor:
    # Copied: memory that processes share cannot be written to.
    pixels = torch.from_numpy(image.copy())
    if pixels.dtype != torch.uint8:
        return pixels
    return pixels.permute(2, 0, 1).contiguous()
