"""Export in one call: a config, weights and a deploy config to files."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from mmdeploy.apis import build_task_processor
from mmdeploy.apis.core.pipeline_manager import no_mp
from mmdeploy.apis.onnx import export as export_to_onnx
from mmdeploy.apis.torch_jit import trace
from mmdeploy.apis.utils import to_backend
from mmdeploy.utils import (
    IR,
    get_backend,
    get_codebase_config,
    get_dynamic_axes,
    get_input_shape,
    get_ir_config,
)
from mmengine.config import Config
from torch import nn

from rfdetr_mm.checkpoints import list_non_finite, name_some
from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes import config_facts
from rfdetr_mm.sizes.shipped import PACKAGE, read_shipped

from .onnx_file import check_axes
from .rewriting import one_search

TASKS = ('detection', 'instance-seg', 'pose')


def deploy_config(
    task: str,
    backend: str,
    precision: str = 'fp32',
    input_size: tuple[int, int] | None = None,
    batch_size: int = 1,
    dynamic_batch: bool = False,
    layout: str = 'end2end',
    backbone_only: bool = False,
    opset: int = 17,
) -> Config:
    """Build a deploy config on those that the package ships.

    Args:
        task: 'detection', 'instance-seg' or 'pose'.
        backend: Such as 'onnxruntime'.
        precision: 'fp32' or what the backend has besides.
        input_size: (h, w) in pixels; the model config's if None.
        batch_size: Images that the graph takes at once.
        dynamic_batch: Any number of images instead.
        layout: 'end2end' or 'raw', see :class:`HeadGraph`.
        backbone_only: Export backbone and neck alone.
        opset: Version of ONNX's operator set.

    Returns:
        The config.

    Raises:
        InputError: If there is no such config, or for an unknown layout.
    """
    for name, value, known in (
        ('task', task, TASKS),
        ('layout', layout, ('end2end', 'raw')),
    ):
        if value not in known:
            raise InputError(f'{name} must be one of {known}, got {value!r}')
    suffix = '' if precision == 'fp32' else f'-{precision}'
    kind = 'dynamic' if dynamic_batch else 'static'
    name = f'{task}_{backend}{suffix}_{kind}.py'
    try:
        cfg = read_shipped(f'deploy/{task}/{name}')
    except FileNotFoundError as error:
        if not any(
            (root / 'configs').is_dir()
            for root in (PACKAGE / '.mim', PACKAGE.parent)
        ):
            raise
        raise InputError(
            f'there is no deploy config {name} for task={task!r}, '
            f'backend={backend!r}, precision={precision!r}, '
            f'dynamic_batch={dynamic_batch}'
        ) from error
    ir_config = get_ir_config(cfg)
    if 'opset_version' in ir_config:
        ir_config.opset_version = opset
    if input_size is not None:
        ir_config.input_shape = tuple(input_size[::-1])
    if backbone_only:
        _name_features(cfg)
    cfg.codebase_config.update(
        output_layout=layout,
        backbone_only=backbone_only,
        batch_size=batch_size,
    )
    return cfg


def _name_features(cfg: Config, count: int = 1) -> None:
    """Let a graph that ends at the neck name its maps.

    Args:
        cfg: The deploy config.
        count: Number of maps: 'features', or 'features_0', 'features_1', ...
    """
    names = (
        ['features'] if count == 1 else [f'features_{i}' for i in range(count)]
    )
    ir_config = get_ir_config(cfg)
    ir_config.output_names = names
    if ir_config.get('dynamic_axes') is not None:
        ir_config.dynamic_axes = {
            name: {0: 'batch'} for name in ('input', *names)
        }


def export(
    model_cfg: str | os.PathLike[str] | Config,
    checkpoint: str | os.PathLike[str] | None,
    deploy_cfg: str | os.PathLike[str] | Config,
    out_dir: str | os.PathLike[str],
    *,
    device: str = 'cpu',
    calibration: Iterable[np.ndarray] | None = None,
    progress: Callable[[str], None] = print,
) -> list[Path]:
    """Export a model for a backend, within this process.

    Args:
        model_cfg: Config of the model.
        checkpoint: Its weights; any that can be loaded by name.
        deploy_cfg: The deploy config.
        out_dir: Folder of the files; made if missing.
        device: Where the backend's file is made; tracing is on the CPU.
        calibration: Batches of normalised images for static int8, shape
            (bs, 3, h_px, w_px) each.
        progress: Told what is going on, line by line.

    Returns:
        The backend's files. A file is complete or absent.

    Raises:
        InputError: If configs, weights and image size do not fit, or weights
            are not finite.
    """
    model_cfg, deploy_cfg = _read(model_cfg), _read(deploy_cfg)
    if get_codebase_config(deploy_cfg).get('backbone_only'):
        neck = model_cfg.model.neck
        count = len(neck.get('scale_factors', (1.0,)))
        # The second half of a DualProjector's maps is for keypoints.
        _name_features(
            deploy_cfg, count * (1 + (neck.type == 'DualProjector'))
        )
    out_dir = Path(out_dir)
    ir_config = get_ir_config(deploy_cfg)
    graph_file = out_dir / ir_config['save_file']
    check_axes(deploy_cfg)
    progress(f'building the model and loading {checkpoint}')
    task = build_task_processor(model_cfg, deploy_cfg, device)
    model = task.build_pytorch_model(
        None if checkpoint is None else str(checkpoint)
    ).cpu()
    _check_finite(model)
    if calibration is not None:
        # Images that cannot be read are found before anything is written.
        calibration = list(calibration)
    out_dir.mkdir(parents=True, exist_ok=True)
    progress(f'exporting to {graph_file}')
    write_graph(model, task.model_cfg, deploy_cfg, graph_file)
    backend = get_backend(deploy_cfg)
    progress(f'converting for {backend.value}')
    files = to_backend(
        backend.value,
        [str(graph_file)],
        work_dir=str(out_dir),
        deploy_cfg=deploy_cfg,
        device=device,
        calibration=calibration,
    )
    for file in files:
        progress(f'wrote {file} ({_num_bytes(Path(file)) / 1e6:.1f} MB)')
    return [Path(file) for file in files]


def _num_bytes(path: Path) -> int:
    """The size of a file, or of the folder that stands for one."""
    if path.is_dir():
        return sum(map(_num_bytes, path.iterdir()))
    return path.stat().st_size


def _check_finite(model: nn.Module) -> None:
    weights = model.state_dict()
    if names := list_non_finite(weights):
        raise InputError(
            f'a model can only be exported if its weights are numbers, but '
            f'{name_some(names, len(weights))}. They come from a training '
            'that diverged: take an earlier checkpoint, such as best.pth, or '
            'train again with a lower learning rate.'
        )


def _read(cfg: str | os.PathLike[str] | Config) -> Config:
    return cfg if isinstance(cfg, Config) else Config.fromfile(cfg)


def write_graph(
    model: nn.Module, model_cfg: Config, deploy_cfg: Config, path: Path
) -> None:
    """Write a model as its backend takes it, by mmdeploy's exporters.

    Args:
        model: Built by the task processor; its parts are replaced.
        model_cfg: Its config.
        deploy_cfg: The deploy config; its ``type`` of graph is 'onnx', or
            'torchscript', which is a program of ``torch.export`` for TFLite.
        path: The file, ``*.onnx`` or ``*.pt``.

    Raises:
        InputError: If the image size does not divide.
    """
    height, width = image_size(model_cfg, deploy_cfg)
    config_facts.check_size_of_model(
        model_cfg, 'the image size', (height, width)
    )
    ir_config = get_ir_config(deploy_cfg)
    backbone = model_cfg.model.backbone
    channels = backbone.get('in_channels', 3)
    images = torch.zeros(1, channels, height, width)
    arguments = dict(
        output_path_prefix=str(path.with_suffix('')),
        backend=get_backend(deploy_cfg).value,
        input_metas=dict(data_samples=None, mode='predict'),
        context_info=dict(deploy_cfg=deploy_cfg),
    )
    with no_mp(), one_search():
        if IR.get(ir_config['type']) == IR.TORCHSCRIPT:
            trace(model, images, check_trace=False, **arguments)
            return
        export_to_onnx(
            model,
            images,
            input_names=ir_config['input_names'],
            output_names=ir_config['output_names'],
            opset_version=ir_config['opset_version'],
            dynamic_axes=get_dynamic_axes(deploy_cfg),
            keep_initializers_as_inputs=False,
            **arguments,
        )


def image_size(model_cfg: Config, deploy_cfg: Config) -> tuple[int, int]:
    """(h, w) in pixels that a model is exported for.

    Args:
        model_cfg: Config of the model.
        deploy_cfg: The deploy config; its ``input_shape`` goes first.

    Returns:
        The size, else that of the model's config, see
        :func:`rfdetr_mm.sizes.config_facts.image_size`.

    Raises:
        InputError: If the places of the model's config say different sizes.
    """
    size_wh = get_input_shape(deploy_cfg)
    if size_wh is not None:
        return int(size_wh[1]), int(size_wh[0])
    return config_facts.image_size(model_cfg)
