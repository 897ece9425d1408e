"""Load an exported file, and detect objects in images by it."""

import importlib
import json
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from inspect import signature
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from rfdetr_mm_light.errors import InputError
from rfdetr_mm_light.exported_files import is_exported
from rfdetr_mm_light.scores import SCORE_THRESHOLD

from .decoding import decode, name_classes
from .detections import Detections
from .facts import OUTPUTS, FileFacts, read_facts
from .keypoints import KEYPOINTS, slots_of_classes
from .metadata import check_is_file, read_metadata
from .pictures import ImageInput, read_picture
from .resizing import resize_picture
from .sessions.session import Arrays, Session

if TYPE_CHECKING:
    import supervision

SESSIONS = {
    '.onnx': ('onnxruntime', 'OnnxSession'),
    '.xml': ('openvino', 'OpenVINOSession'),
    '.tflite': ('tflite', 'TFLiteSession'),
    '.pte': ('executorch', 'ExecuTorchSession'),
    '.ncnn': ('ncnn', 'NCNNSession'),
    '.engine': ('tensorrt', 'TensorRTSession'),
}
"""Suffix of a kind of file to module and class in ``sessions``."""

_AT_ONCE = 8  # images that a file of any batch size gets


def open_session(
    path: str | os.PathLike[str],
    device: str | None = None,
    threads: int | None = None,
    precision: str | None = None,
    side_by_side: int = 1,
) -> Session:
    """Load a file by its runtime.

    Args:
        path: The file.
        device: Such as ``'cpu'``; the usual one of its runtime by default.
        threads: The number of threads.
        precision: What OpenVINO computes in, see :func:`load`.
        side_by_side: How many threads may run it at a time, where its runtime
            allows more than one.

    Returns:
        What runs it.

    Raises:
        InputError: If it cannot be read, its runtime is not installed, or has
            no choice of precision.
    """
    path = check_is_file(path)
    if path.suffix.lower() == '.mlpackage':
        raise InputError(
            f'{path} is for devices of Apple, and is not run here: load it by '
            'Core ML there, or export the model for another runtime'
        )
    if not is_exported(path):
        raise InputError(
            f'the kind of {path} is not known by its name: it should end in '
            f'{", ".join(SESSIONS)}'
        )
    module, name = SESSIONS[path.suffix.lower()]
    package = f'{__package__}.sessions.{module}'
    session_type = getattr(importlib.import_module(package), name)
    known = signature(session_type).parameters
    options: dict[str, object] = {} if device is None else dict(device=device)
    if precision is not None:
        if 'precision' not in known:
            raise InputError(
                f'precision={precision!r} is for the .xml files of OpenVINO: '
                f'what {path} computes in was decided when it was exported'
            )
        options['precision'] = precision
    if side_by_side < 1:
        raise InputError(f'side_by_side is at least 1, got {side_by_side}')
    if 'side_by_side' in known:
        options['side_by_side'] = side_by_side
    return session_type(path, threads=threads, **options)


class ExportedModel:
    """An exported file that predicts.

    Args:
        session: The file in its runtime.
        facts: What it says about the model.
        metadata: All texts of its metadata.

    Attributes:
        file: Its name.
        task: ``'detection'``, ``'instance-seg'`` or ``'keypoints'``.
        class_names: Number i is the label i.
        input_hw: (height, width) in pixels that it takes.
        batch_size: Images that it takes at once; None for any number.
        facts: What it says about the model.
        metadata: All texts of its metadata.

    Raises:
        InputError: If it has other class names than class rows, no fixed
            image size, or keypoints of other numbers than it says.
    """

    def __init__(
        self, session: Session, facts: FileFacts, metadata: dict[str, str]
    ) -> None:
        self._session = session
        self._free = threading.Semaphore(session.side_by_side)
        self.facts, self.metadata = facts, metadata
        self.file, self.task = session.file, facts.task
        names, self._rows = name_classes(
            self.file, facts, session.output_shapes
        )
        self.class_names = list(names)
        self._active = None
        if self.task == KEYPOINTS:
            self._active = slots_of_classes(
                self.file,
                facts.num_keypoints,
                session.output_shapes[KEYPOINTS][2],
            )
        self.batch_size = session.input_shape[0]
        height, width = session.input_shape[2:]
        if None in (height, width):
            raise InputError(
                f'{self.file} has no fixed image size, (height, width) = '
                f'({height}, {width}): export it for one'
            )
        self.input_hw = int(height), int(width)

    def predict(
        self,
        images: ImageInput | Sequence[ImageInput],
        threshold: float = SCORE_THRESHOLD,
        *,
        shape: tuple[int, int] | None = None,
        batch_size: int | None = None,
        include_source_image: bool = True,
        as_supervision: bool = False,
    ) -> 'Detections | supervision.Detections | supervision.KeyPoints | list':
        """Detect objects.

        Args:
            images: Path, http(s) address, Pillow image, RGB array (H, W, 3),
                8-bit or in [0, 1], or a list of them, of any sizes.
            threshold: Scores must be greater.
            shape: (height, width) in pixels that images are resized to; only
                checked, as the file has one size.
            batch_size: Images that the file gets at once; only a file that
                was exported with ``dynamic_batch`` leaves a choice, 8 by
                default.
            include_source_image: Whether the results keep the image, as
                ``metadata['source_image']``, uint8 RGB.
            as_supervision: Whether results are objects of supervision, which
                then must be installed, instead of arrays.

        Returns:
            :class:`~rfdetr_runtime.Detections`, arrays under the names of
            supervision, or supervision's own, which are KeyPoints if the file
            has keypoints; a list of them for a list.

        Raises:
            FileNotFoundError: If there is no such image.
            ConnectionError: If an address cannot be fetched.
            InputError: If an image cannot be read, ``shape`` or
                ``batch_size`` is not the file's, its outputs are not finite,
                or supervision is not installed.
            TypeError: If an image is of another type.
        """
        self.check(shape, batch_size)
        is_list = isinstance(images, (list, tuple))
        images = images if is_list else [images]
        at_once = batch_size or self.batch_size or _AT_ONCE
        results: list = []
        for start in range(0, len(images), at_once):
            batch = images[start : start + at_once]
            results += self._predict(batch, threshold, include_source_image)
        if as_supervision:
            results = [found.to_supervision() for found in results]
        return results if is_list else results[0]

    def predict_each(
        self,
        images: Iterable[ImageInput],
        threshold: float = SCORE_THRESHOLD,
        *,
        batch_size: int | None = None,
        include_source_image: bool = True,
    ) -> Iterator[Detections]:
        """Detect objects in many images, some of them at a time.

        While one image is in the network, others are read and resized.
        ``load(side_by_side=N)`` lets N of them be in the network, too, which
        uses N processors better than one image by all of them.

        Args:
            images: What :meth:`predict` takes; only a few of them are held.
            threshold: Scores must be greater.
            batch_size: Images that the file gets at once; that of the file,
                else 1, by default.
            include_source_image: See :meth:`predict`.

        Yields:
            The detections of each image, in the order of the images.

        Raises:
            FileNotFoundError: If there is no such image.
            ConnectionError: If an address cannot be fetched.
            InputError: If an image cannot be read, ``batch_size`` is not the
                file's, or its outputs are not finite.
            TypeError: If an image is of another type.
        """
        self.check(None, batch_size)
        at_once = batch_size or self.batch_size or 1
        workers = max(self._session.side_by_side, 2)
        running: deque[Future[list[Detections]]] = deque()
        pool = ThreadPoolExecutor(workers, 'rfdetr_runtime')
        try:
            for batch in _batches(images, at_once):
                running.append(
                    pool.submit(
                        self._predict, batch, threshold, include_source_image
                    )
                )
                # Two for each thread, so that none of them waits.
                if len(running) == 2 * workers:
                    yield from running.popleft().result()
            while running:
                yield from running.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _predict(
        self, images: Sequence[ImageInput], threshold: float, keep: bool
    ) -> list[Detections]:
        """Detections of images that the file gets at once."""
        pictures = [read_picture(image) for image in images]
        found = self.detect(
            np.stack([self.prepare(picture) for picture in pictures]),
            [picture.shape[:2] for picture in pictures],
            threshold,
        )
        if keep:
            for detections, picture in zip(found, pictures, strict=True):
                detections.metadata['source_image'] = _source(picture)
        return found

    def check(
        self, shape: tuple[int, int] | None, batch_size: int | None
    ) -> None:
        """Refuse an image size and a batch that the file does not take.

        Args:
            shape: (height, width) in pixels, or None.
            batch_size: The number of images at once, or None.

        Raises:
            InputError: If one of them is not the file's.
        """
        if shape is not None and tuple(shape) != self.input_hw:
            raise InputError(
                f'{self.file} was exported for images of {self.input_hw} '
                f'(height, width) in px, got shape={tuple(shape)}: images of '
                'any size are resized to it; export the model again for '
                'another one'
            )
        if batch_size is None:
            return
        if batch_size < 1:
            raise InputError(f'batch_size is at least 1, got {batch_size}')
        least, largest = self._session.batch_sizes
        if not least <= batch_size <= (largest or batch_size):
            raise InputError(
                f'{self.file} takes batches of {least} to {largest} images, '
                f'got batch_size={batch_size}: leave it out, or export the '
                'model with this batch_size or with dynamic_batch'
            )

    def prepare(self, picture: np.ndarray) -> np.ndarray:
        """Resize and normalise a picture as the file was exported for.

        Args:
            picture: RGB, uint8 or float32 from 0 to 255, shape (h, w, 3).

        Returns:
            float32, shape (3, height, width) of the input.
        """
        return prepare_picture(picture, self.facts, self.input_hw)

    def run(self, images: np.ndarray) -> Arrays:
        """Run the file as it is.

        Args:
            images: Any number of results of :meth:`prepare`, shape (bs, 3,
                height, width).

        Returns:
            Its outputs by name.

        Raises:
            InputError: If the images are of another size.
        """
        with self._free:
            return self._session.run(images)

    def detect(
        self,
        images: np.ndarray,
        image_sizes_hw: Sequence[tuple[int, int]],
        threshold: float = 0.0,
    ) -> list[Detections]:
        """Detect objects in images that are ready for the network.

        Args:
            images: Results of :meth:`prepare`, shape (bs, 3, height, width).
            image_sizes_hw: (height, width) of each image in pixels, before it
                was resized.
            threshold: Scores must be greater.

        Returns:
            The detections of each image, in its pixels.

        Raises:
            InputError: If the images are of another size, or outputs are not
                finite.
        """
        outputs = self.run(images)
        chosen = [outputs[name] for name in OUTPUTS[self.task]]
        return [
            decode(
                self.file,
                [output[i] for output in chosen],
                self.facts,
                self._rows,
                self.class_names,
                self.input_hw,
                tuple(image_hw),
                threshold,
                self._active,
            )
            for i, image_hw in enumerate(image_sizes_hw)
        ]


def prepare_picture(
    picture: np.ndarray, facts: FileFacts, input_hw: tuple[int, int]
) -> np.ndarray:
    """Resize and normalise a picture as a file was exported for.

    Args:
        picture: RGB, uint8 or float32 from 0 to 255, shape (h, w, 3).
        facts: What the file says.
        input_hw: (height, width) in pixels that it takes.

    Returns:
        float32, shape (3, height, width).
    """
    pixels = resize_picture(picture, input_hw, facts.resize_kernel)
    if facts.channel_order == 'BGR':
        pixels = pixels[..., ::-1]
    mean, std = (
        np.array(values, dtype=np.float32)
        for values in (facts.mean, facts.std)
    )
    return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1))


def load(
    path: str | os.PathLike[str],
    *,
    device: str | None = None,
    threads: int | None = None,
    class_names: Sequence[str] | None = None,
    num_keypoints: Sequence[int] | None = None,
    precision: str | None = None,
    side_by_side: int = 1,
) -> ExportedModel:
    """Load an exported file.

    Args:
        path: ``.onnx``, ``.xml`` (OpenVINO), ``.tflite``, ``.pte``
            (ExecuTorch), ``.ncnn`` or ``.engine`` (TensorRT), of this
            package, or an ONNX or ExecuTorch file of rfdetr 1.11.2.
        device: Such as ``'cpu'`` or ``'cuda:0'``; the usual one of the file's
            runtime by default.
        threads: The number of threads; the runtime's choice by default.
        class_names: Instead of those of the file.
        num_keypoints: Keypoints of each class, instead of those of the file.
            One that does not say has those of a single class.
        precision: What OpenVINO computes in, ``'f32'``, ``'bf16'`` or
            ``'f16'``; what the file says by default, and OpenVINO's own
            choice if it says nothing, which is bf16 where the processor has
            it.
        side_by_side: How many images ONNX Runtime and OpenVINO may work on
            at a time in :meth:`ExportedModel.predict_each`, such as the
            number of processors. They share the threads, so that a single
            image takes longer.

    Returns:
        The model, ready to predict.

    Raises:
        InputError: If there is no such file, the file cannot be read or is not
            a detector of RF-DETR, its runtime is not installed, or an option
            is not one of its runtime's.
    """
    metadata = read_metadata(path)
    for name, values in (
        ('class_names', class_names),
        ('num_keypoints', num_keypoints),
    ):
        if values is not None:
            metadata = {**metadata, name: json.dumps(list(values))}
    session = open_session(path, device, threads, precision, side_by_side)
    facts = read_facts(str(path), metadata, session.output_shapes)
    return ExportedModel(session, facts, metadata)


def _batches(
    images: Iterable[ImageInput], size: int
) -> Iterator[list[ImageInput]]:
    """Lists of so many images; the last one may be shorter."""
    rest = iter(images)
    while batch := list(islice(rest, size)):
        yield batch


def _source(picture: np.ndarray) -> np.ndarray:
    # Cut off, not rounded, as upstream does.
    return picture if picture.dtype == np.uint8 else picture.astype(np.uint8)
