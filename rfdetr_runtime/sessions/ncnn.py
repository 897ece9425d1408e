"""Runs ncnn's models.

A model is a folder ``*.ncnn`` of two graphs, as ncnn cannot pick the best of
many rows: the first one gives proposals, the best of them are chosen here, and
the second one makes detections of them.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rfdetr_mm_light.errors import InputError

from ..decoding import best_pairs
from ..metadata import read_metadata
from .session import (
    Arrays,
    Session,
    check_cpu,
    import_runtime,
    not_readable,
    num_cpus,
    output_names,
)

INSTALL = "pip install 'rfdetr_mm[ncnn]'"
PROPOSALS, DETECTIONS = 'proposals', 'detections'
"""The two graphs: ``NAME.ncnn.param`` and ``NAME.ncnn.bin`` in the folder."""

_SIZES = ('input_shape', 'output_shapes', 'num_queries')


class NCNNSession(Session):
    """An ncnn model on the CPU, in float32.

    Args:
        file: The folder ``*.ncnn``.
        device: Only ``'cpu'``.
        threads: The number of threads; one for each processor that the process
            may use unless given.

    Raises:
        InputError: If ncnn is not installed or cannot read the model, or for
            another device.
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        device: str = 'cpu',
        threads: int | None = None,
    ) -> None:
        self.file = str(file)
        ncnn = import_runtime('ncnn', self.file, INSTALL)
        check_cpu(self.file, device)
        self._mat = ncnn.Mat
        texts = read_metadata(file)
        shape, shapes, self._num_queries = _sizes(self.file, texts)
        self.input_shape = tuple(shape)
        names = output_names(self.file, texts, len(shapes))
        self.output_shapes = dict(zip(names, map(tuple, shapes), strict=True))
        self._is_raw = texts.get('layout') == 'raw'
        self._proposals, self._detections = (
            _load(ncnn, Path(file, name), threads or num_cpus())
            for name in (PROPOSALS, DETECTIONS)
        )

    def _run(self, images: np.ndarray) -> Arrays:
        scores, tokens, boxes = self._compute(self._proposals, [images[0]], 3)
        # Stable, so that equal scores keep the order of the cells.
        best = np.argsort(-scores, kind='stable')[: self._num_queries]
        outputs = self._compute(
            self._detections, [tokens, boxes[best]], len(self.output_shapes)
        )
        if not self._is_raw:
            outputs = self._best(*outputs)
        return {
            name: output[np.newaxis]
            for name, output in zip(self.output_shapes, outputs, strict=True)
        }

    def _compute(
        self, net: Any, inputs: list[np.ndarray], num_outputs: int
    ) -> list[np.ndarray]:
        """Run a graph; pnnx names inputs in0, in1, ... and outputs alike."""
        extractor = net.create_extractor()
        arrays = [np.ascontiguousarray(array) for array in inputs]
        for number, array in enumerate(arrays):
            extractor.input(f'in{number}', self._mat(array))
        outputs = []
        for number in range(num_outputs):
            status, output = extractor.extract(f'out{number}')
            if status:
                raise not_readable(
                    self.file,
                    'an ncnn model',
                    RuntimeError(f'it gives no out{number} ({status})'),
                )
            outputs.append(np.array(output))
        return outputs

    def _best(
        self, boxes: np.ndarray, logits: np.ndarray, *others: np.ndarray
    ) -> list[np.ndarray]:
        """Outputs of the layout 'end2end', which other runtimes compute."""
        limit = next(iter(self.output_shapes.values()))[1]
        corners, scores, labels, queries = best_pairs(
            boxes, logits, self.input_shape[2:], None, limit
        )
        dets = np.concatenate([corners, scores[:, np.newaxis]], axis=1)
        return [dets, labels, *(other[queries] for other in others)]


def _sizes(
    file: str, texts: Mapping[str, str]
) -> tuple[list[int], list[list[int]], int]:
    """What a graph of ncnn does not say: its shapes, and how many queries."""
    missing = [name for name in _SIZES if name not in texts]
    if missing:
        raise InputError(
            f'{file} does not say its {", ".join(missing)}, so it is not an '
            'ncnn model of rfdetr_mm: export the model again'
        )
    try:
        shape, shapes, count = (json.loads(texts[name]) for name in _SIZES)
    except ValueError as error:
        raise not_readable(file, 'an ncnn model', error) from error
    return shape, shapes, count


def _load(ncnn: Any, path: Path, threads: int) -> Any:
    """One of the two graphs, computing in float32 whatever the processor."""
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = False
    net.opt.use_fp16_storage = False
    net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    for suffix, read in (('param', net.load_param), ('bin', net.load_model)):
        part = path.with_name(f'{path.name}.ncnn.{suffix}')
        if not part.is_file():
            raise InputError(
                f'{path.parent} is not a whole ncnn model: it has no '
                f'{part.name}'
            )
        if read(str(part)):
            raise InputError(
                f'{path.parent} cannot be read as an ncnn model: ncnn refuses '
                f'{part.name}'
            )
    return net
