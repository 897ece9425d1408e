"""Export a live model through the deployment package."""

import copy
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import print_log

from rfdetr_mm.checkpoints import write_checkpoint
from rfdetr_mm.errors import InputError
from rfdetr_runtime.image_file import IMAGE_SUFFIXES, list_images
from rfdetr_runtime.metadata import side_file
from rfdetr_runtime.resizing import PREDICT

from .export_request import FORMATS, ExportRequest
from .images import LoadedImage, load_image, make_batch
from .model_context import ModelContext


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
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, OSError) as error:
        raise InputError(f'{path} is not a .npy file: {error}') from error
