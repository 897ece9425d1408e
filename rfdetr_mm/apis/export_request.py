"""What is to be exported, and how; all of it is checked without a model."""

import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rfdetr_mm.errors import InputError
from rfdetr_mm_light.exported_files import INFERENCE_PRECISIONS
from rfdetr_runtime.facts import LAYOUTS

from .arguments import (
    check_executorch_backend,
    check_patch_size,
    input_shape,
)
from .model_config import ModelConfig, positive_int

# Upstream's name of a format: mmdeploy's, and what must be installed.
_EXTRA = "'rfdetr_mm[deploy]'"
FORMATS = {
    'onnx': ('onnxruntime', _EXTRA),
    'tflite': ('tflite', "'rfdetr_mm[deploy,tflite-export]'"),
    'openvino': ('openvino', "'rfdetr_mm[deploy,openvino-export]'"),
    'executorch': ('executorch', "'rfdetr_mm[deploy,executorch]'"),
    'pte': ('executorch', "'rfdetr_mm[deploy,executorch]'"),
    'ncnn': ('ncnn', "'rfdetr_mm[deploy,ncnn-export]'"),
    'coreml': ('coreml', "'rfdetr_mm[deploy,coreml]'"),
    'tensorrt': ('tensorrt', f'{_EXTRA} tensorrt'),
    'trt': ('tensorrt', f'{_EXTRA} tensorrt'),
}
QUANTIZATIONS = {
    'onnx': ('fp32', 'fp16', 'int8'),
    'tflite': ('fp32', 'fp16', 'int8'),
    'openvino': ('fp32', 'fp16', 'int8'),
    'executorch': ('fp32', 'int8'),
    'pte': ('fp32', 'int8'),
    'ncnn': ('fp32', 'fp16'),
    'coreml': ('fp32', 'fp16'),
    'tensorrt': ('fp32', 'fp16', 'int8'),
    'trt': ('fp32', 'fp16', 'int8'),
}
# mmdeploy's names of backends whose files take one number of images.
ONE_BATCH_SIZE = ('tflite', 'executorch', 'ncnn', 'coreml')
_CALIBRATION = (str, os.PathLike, np.ndarray, type(None))


@dataclass
class ExportRequest:
    """What is to be exported, and how.

    Args:
        format: A key of ``FORMATS``.
        quantization: One of ``QUANTIZATIONS[format]``, or None.
        input_hw: (height, width) in pixels.
        batch_size: Images that the graph takes.
        dynamic_batch: Any number of images instead.
        backbone_only: Whether the head is left out.
        opset: Version of ONNX's operators.
        calibration: Folder of images, ``.npy`` file or array, see
            :func:`calibration_batches`.
        max_images: How many images of a folder are used at most.
        layout: The outputs of the graph, ``'end2end'`` or ``'raw'``.
        max_batch_size: The largest batch of a TensorRT engine.
        notes: A text for the metadata.
        output_name: The name of the result without its suffix, or None.
        inference_precision: What OpenVINO is told to compute in; None for
            what is best for the quantization.

    Raises:
        InputError: If a value is unknown, or the format does not have it.
    """

    format: str
    quantization: str | None
    input_hw: tuple[int, int]
    batch_size: int
    opset: int
    calibration: str | os.PathLike | np.ndarray | None
    max_images: int
    dynamic_batch: bool = False
    backbone_only: bool = False
    layout: str = 'end2end'
    max_batch_size: int | None = None
    notes: str | None = None
    output_name: str | None = None
    inference_precision: str | None = None

    def __post_init__(self) -> None:
        if self.format not in list(FORMATS):  # also what has no hash
            raise InputError(
                f'format must be one of {", ".join(FORMATS)}, got '
                f'{self.format!r}'
            )
        if self.layout not in LAYOUTS:
            raise InputError(
                f'layout must be one of {", ".join(LAYOUTS)}, got '
                f'{self.layout!r}'
            )
        hint = self.inference_precision
        if hint not in (*INFERENCE_PRECISIONS, None):
            raise InputError(
                'inference_precision must be one of '
                f'{", ".join(INFERENCE_PRECISIONS)}, got {hint!r}'
            )
        self._check_combination()
        positive_int('max_images', self.max_images)
        if type(self.opset) is not int or self.opset < 16:
            raise InputError(
                'opset_version must be 16 at least (GridSample), got '
                f'{self.opset!r}'
            )
        name = self.output_name
        if name is not None and (not name or Path(name).name != name):
            raise InputError(
                'output_name must be the name of a file without folder and '
                f'suffix, got {name!r}; output_dir is its folder'
            )
        largest = self.max_batch_size
        if largest is not None and (
            type(largest) is not int or largest < self.batch_size
        ):
            raise InputError(
                f'max_batch_size must be an integer of at least batch_size='
                f'{self.batch_size}, got {largest!r}'
            )
        is_empty = isinstance(self.calibration, str) and not self.calibration
        if is_empty or not isinstance(self.calibration, _CALIBRATION):
            raise InputError(
                'calibration_data must be a folder of images, a .npy file '
                f'or an array (N, H, W, C), got {self.calibration!r}'
            )
        if self.precision == 'int8-dynamic':
            warnings.warn(
                'int8 without calibration_data: the weights alone are '
                'quantised. With images of your data the rest is as well.',
                stacklevel=5,
            )

    def _check_combination(self) -> None:
        backend = FORMATS[self.format][0]
        if (self.quantization or 'fp32') not in QUANTIZATIONS[self.format]:
            known = (
                f'{k} has {", ".join(v)}' for k, v in QUANTIZATIONS.items()
            )
            raise InputError(
                f'format={self.format!r} has no quantization='
                f'{self.quantization!r}: {"; ".join(known)}'
            )
        if backend in ONE_BATCH_SIZE and self.dynamic_batch:
            raise InputError(
                f'format={self.format!r} has no dynamic_batch: give '
                'batch_size, or take another format'
            )
        if backend == 'ncnn' and self.batch_size != 1:
            raise InputError(
                f'format={self.format!r} takes one image at a time, got '
                f'batch_size={self.batch_size}: leave it out'
            )
        if backend == 'ncnn' and self.backbone_only:
            raise InputError(
                f'format={self.format!r} has no backbone_only: leave it out, '
                'or take another format'
            )
        if backend == 'executorch' and self.precision == 'int8':
            raise InputError(
                f'format={self.format!r} quantises activations while it runs, '
                'got calibration_data: leave it out'
            )
        is_dynamic = self.precision == 'int8-dynamic'
        if backend in ('tensorrt', 'openvino') and is_dynamic:
            raise InputError(
                f"format={self.format!r} with quantization='int8' needs "
                'calibration_data'
            )

    @property
    def is_calibrated(self) -> bool:
        """Whether images are needed."""
        return self.quantization == 'int8' and self.calibration is not None

    @property
    def precision(self) -> str:
        """The name that deploy configs have for it."""
        if self.quantization == 'int8' and not self.is_calibrated:
            return 'int8-dynamic'
        return self.quantization or 'fp32'


def make_request(
    config: ModelConfig,
    *,
    format: str = 'onnx',
    quantization: str | None = None,
    shape: tuple[int, int] | None = None,
    batch_size: int = 1,
    opset_version: int = 17,
    calibration_data: str | os.PathLike | np.ndarray | None = None,
    max_images: int = 100,
    patch_size: int | None = None,
    fp16: bool = True,
    coreml_precision: str | None = None,
    openvino_precision: str | None = None,
    notes: object = None,
    max_batch_size: int | None = None,
    inference_precision: str | None = None,
    backend: str | None = None,
    soc: str | None = None,
    coreai_precision: str | None = None,
    **others: Any,
) -> ExportRequest:
    """Check the arguments of :meth:`~rfdetr_mm.apis.rfdetr.RFDETR.export`.

    All but the first are those of the method.

    Args:
        config: The configuration of the model, which need not be built.
        format: Format of the file.
        quantization: Its precision.
        shape: (height, width) in pixels, or None.
        batch_size: Images that the graph takes.
        opset_version: Version of ONNX's operators.
        calibration_data: Folder of images, ``.npy`` file or array.
        max_images: How many images of a folder are used at most.
        patch_size: The model's, only checked.
        fp16: Whether a TensorRT engine is in fp16.
        coreml_precision: Another word for the precision.
        openvino_precision: Another word for the precision.
        notes: Text, or what JSON can hold.
        max_batch_size: The largest batch of a TensorRT engine.
        inference_precision: What OpenVINO is told to compute in.
        backend: What runs an ExecuTorch file.
        soc: Only None.
        coreai_precision: Has no effect, with a warning.
        **others: Fields of :class:`ExportRequest` that are taken as they are.

    Returns:
        What is to be exported.

    Raises:
        InputError: As :class:`ExportRequest`, or if an argument is
            impossible for the model.
        FileNotFoundError: If there are no images to calibrate with.
    """
    check_patch_size(patch_size, config)
    warn_of_unused(
        format,
        backend=backend,
        soc=soc,
        max_batch_size=max_batch_size,
        coreml_precision=coreml_precision,
        coreai_precision=coreai_precision,
        openvino_precision=openvino_precision,
        inference_precision=inference_precision,
    )
    check_executorch_backend(format, backend, soc)
    request = ExportRequest(
        format=format,
        quantization=settle_precision(
            format, quantization, fp16, openvino_precision, coreml_precision
        ),
        input_hw=input_shape(shape, config),
        batch_size=positive_int('batch_size', batch_size),
        opset=opset_version,
        calibration=calibration_data,
        max_images=max_images,
        max_batch_size=max_batch_size,
        notes=notes_text(notes),
        inference_precision=inference_precision,
        **others,
    )
    _check_calibration(calibration_data)
    return request


def _check_calibration(data: Any) -> None:
    """Complain before a model is built about images that are not there."""
    if not isinstance(data, (str, os.PathLike)):
        return
    if not (Path(data).is_dir() or Path(data).is_file()):
        raise FileNotFoundError(
            f'calibration_data={str(data)!r} is neither a folder nor a file'
        )


def settle_precision(
    format: str,
    quantization: str | None,
    fp16: bool,
    openvino_precision: str | None,
    coreml_precision: str | None = None,
) -> str | None:
    """Say in one word what upstream says in one for each format.

    Args:
        format: The format of the file.
        quantization: Its precision, which is the same for every format.
        fp16: Whether an engine is in fp16 where ``quantization`` is None.
        openvino_precision: ``'float32'`` or ``'float16'``, for OpenVINO.
        coreml_precision: The same for Core ML.

    Returns:
        The quantization.

    Raises:
        InputError: If the value is unknown, or two of them differ.

    Source: rfdetr 1.11.2, detr.py, RFDETR.export (arguments).
    """
    if format in ('tensorrt', 'trt') and quantization is None and fp16:
        return 'fp16'
    if format == 'openvino':
        name, given = 'openvino_precision', openvino_precision
    else:
        name, given = 'coreml_precision', coreml_precision
    if format not in ('openvino', 'coreml') or given is None:
        return quantization
    words = {'float32': 'fp32', 'float16': 'fp16'}
    named = words.get(given)
    if named is None or quantization not in (None, named):
        raise InputError(
            f'{name} must be one of {", ".join(words)} and agree with '
            f'quantization, got {name}={given!r} and quantization='
            f'{quantization!r}'
        )
    return named


def warn_of_unused(format: str, **given: Any) -> None:
    """Warn of arguments that are for another format.

    Args:
        format: The format of the file.
        **given: Name to value; None if it was not given.
    """
    for_engines = ('max_batch_size',)
    for_executorch = ('backend', 'soc')
    of_formats = dict(
        openvino=('openvino_precision', 'inference_precision'),
        coreml=('coreml_precision',),
        executorch=for_executorch,
        pte=for_executorch,
        tensorrt=for_engines,
        trt=for_engines,
    )
    # What is not a text is refused later.
    used = of_formats.get(format, ()) if isinstance(format, str) else ()
    for name, value in given.items():
        if value is not None and name not in used:
            warnings.warn(
                f'export(): {name}={value!r} has no effect with format='
                f'{format!r}.',
                stacklevel=4,
            )


def notes_text(notes: object) -> str | None:
    """Write notes as a text for the metadata.

    Args:
        notes: A text, which stays as it is, or what JSON can hold.

    Returns:
        The text, None for no notes.

    Raises:
        InputError: If JSON cannot hold them.
    """
    if notes is None or isinstance(notes, str):
        return notes
    try:
        return json.dumps(notes, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f'notes must be a text or what JSON can hold, got {notes!r}: '
            f'{error}'
        ) from error
