"""Export a live model through the deployment package."""

import copy
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log

from rfdetr_mm.checkpoints import write_checkpoint
from rfdetr_mm.errors import InputError
from rfdetr_mm_light.exported_files import INFERENCE_PRECISIONS
from rfdetr_runtime.facts import LAYOUTS
from rfdetr_runtime.image_file import IMAGE_SUFFIXES, list_images
from rfdetr_runtime.metadata import side_file
from rfdetr_runtime.resizing import PREDICT

from .images import LoadedImage, load_image, make_batch
from .model_config import positive_int
from .model_context import ModelContext

# Upstream's name of a format: mmdeploy's, and what must be installed.
_EXTRA = "'rfdetr_mm[deploy]'"
FORMATS = {
    'onnx': ('onnxruntime', _EXTRA),
    'tflite': ('tflite', "'rfdetr_mm[deploy,tflite-export]'"),
    'openvino': ('openvino', "'rfdetr_mm[deploy,openvino-export]'"),
    'executorch': ('executorch', "'rfdetr_mm[deploy,executorch]'"),
    'pte': ('executorch', "'rfdetr_mm[deploy,executorch]'"),
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
    'coreml': ('fp32', 'fp16'),
    'tensorrt': ('fp32', 'fp16', 'int8'),
    'trt': ('fp32', 'fp16', 'int8'),
}
# mmdeploy's names of backends whose files take one number of images.
ONE_BATCH_SIZE = ('tflite', 'executorch', 'coreml')
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
    dynamic_batch: bool
    backbone_only: bool
    opset: int
    calibration: str | os.PathLike | np.ndarray | None
    max_images: int
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
                stacklevel=4,
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


def run_export(
    context: ModelContext,
    request: ExportRequest,
    output_dir: Path,
    size: str,
    verbose: bool,
) -> Path:
    """Export a model; it stays as it is.

    The weights are written to a temporary file and exported from there, so
    the live model has no part in it. The results are moved to their folder
    when all of them are complete.

    Args:
        context: The model.
        request: What is wanted.
        output_dir: Folder of the result.
        size: Name of the result, without suffix.
        verbose: Whether to log what is done.

    Returns:
        The file.

    Raises:
        InputError: If the export is not possible.
        ImportError: If an extra is not installed; it is named.
    """
    backend, packages = FORMATS[request.format]
    export, deploy_config, set_resize_kernel, heads = _import_deploy(packages)
    device = _device_of(backend, packages, context.device)
    deploy_cfg = deploy_config(
        heads[context.cfg.model.bbox_head.type][0],
        backend,
        precision=request.precision,
        input_size=request.input_hw,
        batch_size=request.batch_size,
        dynamic_batch=request.dynamic_batch,
        layout=request.layout,
        backbone_only=request.backbone_only,
        opset=request.opset,
    )
    if request.notes is not None:
        deploy_cfg.codebase_config.notes = request.notes
    if backend == 'openvino' and request.inference_precision is not None:
        hint = request.inference_precision
        deploy_cfg.backend_config.inference_precision = hint
    if backend == 'tensorrt' and request.max_batch_size is not None:
        deploy_cfg.backend_config.batch_sizes = (
            1,
            request.batch_size,
            request.max_batch_size,
        )
    calibration = None
    if request.is_calibrated:
        calibration = list(calibration_batches(context, request))
    cfg = copy.deepcopy(context.cfg)
    cfg.load_from = None
    set_resize_kernel(cfg, PREDICT)  # as predict() of the live model does
    output_dir.mkdir(parents=True, exist_ok=True)
    # Within the folder, so that moving is renaming.
    with tempfile.TemporaryDirectory(dir=output_dir) as folder:
        weights = Path(folder, 'weights.pth')
        names = dict(classes=tuple(context.class_names))
        content = dict(
            state_dict=_on_cpu(context.model), meta=dict(dataset_meta=names)
        )
        write_checkpoint(content, weights)
        try:
            files = export(
                cfg,
                weights,
                deploy_cfg,
                Path(folder, 'files'),
                device=device,
                calibration=calibration,
                progress=_log if verbose else _ignore,
            )
        except ImportError as error:
            raise _missing(packages, error) from error
        return _move(files, output_dir, request, size)


def _import_deploy(packages: str) -> tuple:
    try:
        from rfdetr_mm.deploy.export import deploy_config, export
        from rfdetr_mm.deploy.task import HEADS, set_resize_kernel
    except ImportError as error:
        raise _missing(packages, error) from error
    return export, deploy_config, set_resize_kernel, HEADS


def _device_of(backend: str, packages: str, device: torch.device) -> str:
    """What a backend's file is made on."""
    if backend != 'tensorrt':
        return 'cpu'
    try:
        import tensorrt  # noqa: F401
    except ImportError as error:
        raise _missing(packages, error) from error
    if device.type == 'cuda':
        return str(device)
    if torch.cuda.is_available():
        return 'cuda:0'
    raise InputError(
        "format='tensorrt' builds its engine on the NVIDIA GPU that it is "
        "for, and torch sees none here: take format='onnx', and build the "
        'engine there by trtexec.'
    )


def _missing(packages: str, error: ImportError) -> ImportError:
    return ImportError(
        f'export() needs what is not installed ({error}): pip install '
        f'{packages} and pip install --no-deps mmdeploy==1.3.1'
    )


def _on_cpu(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: x.cpu() for name, x in model.state_dict().items()}


def _log(line: str) -> None:
    print_log(line, logger='current')


def _ignore(line: str) -> None:
    """Say nothing."""


def _move(
    files: list[Path], output_dir: Path, request: ExportRequest, size: str
) -> Path:
    """Give the files their final names; return the one to be loaded."""
    name = request.output_name or size
    name += '-backbone' if request.backbone_only else ''
    if not request.output_name and request.quantization not in (None, 'fp32'):
        name += f'-{request.quantization}'
    (file,) = files
    target = output_dir / (name + file.suffix)
    moves = {file: target}
    # OpenVINO's weights and the metadata of an engine lie beside their files.
    if file.suffix == '.xml':
        moves[file.with_suffix('.bin')] = target.with_suffix('.bin')
    if side_file(file).is_file():
        moves[side_file(file)] = side_file(target)
    for old, new in moves.items():
        if new.is_dir():  # an ML package; a move would end within it
            shutil.rmtree(new)
        shutil.move(old, new)
    return target


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
                stacklevel=3,
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


def calibration_batches(
    context: ModelContext, request: ExportRequest
) -> Iterator[np.ndarray]:
    """Prepare images to calibrate with, as :meth:`RFDETR.predict` does.

    Args:
        context: The model.
        request: Its ``calibration`` is a folder of images, a ``.npy`` file
            or an array of float32 in [0, 1], shape (N, H, W, channels).

    Yields:
        Normalised float32, shape (batch_size, channels, height, width).

    Raises:
        InputError: If there is no image, or one that cannot be used.
    """
    preprocessor = context.model.data_preprocessor
    mean, std = (x.cpu() / 255 for x in (preprocessor.mean, preprocessor.std))
    images = _calibration_images(context, request)
    size = request.batch_size
    # Whole batches: the first images come again.
    images += images[: -len(images) % size]
    for start in range(0, len(images), size):
        yield make_batch(
            images[start : start + size],
            request.input_hw,
            mean,
            std,
        ).numpy()


def _calibration_images(
    context: ModelContext, request: ExportRequest
) -> list[LoadedImage]:
    data, channels = request.calibration, context.args.num_channels
    if not isinstance(data, np.ndarray) and Path(data).is_dir():
        files = list_images(data)[: request.max_images]
        if not files:
            raise InputError(
                f'{data}, for calibration, has no image '
                f'({", ".join(IMAGE_SUFFIXES)})'
            )
        return [load_image(file, channels, False) for file in files]
    if not isinstance(data, np.ndarray):
        data = _read_npy(Path(data))
    if data.ndim != 4 or not len(data):
        raise InputError(
            'calibration_data as an array has the shape (N, H, W, '
            f'{channels}), got {data.shape}'
        )
    return [load_image(image, channels, False) for image in data]


def _read_npy(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(
            f'calibration_data={str(path)!r} is neither a folder nor a file'
        )
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, OSError) as error:
        raise InputError(f'{path} is not a .npy file: {error}') from error
