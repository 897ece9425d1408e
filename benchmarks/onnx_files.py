"""Files of this package's exporter, and running ONNX files."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from mmengine.config import Config


def export_ours(
    cfg: 'Config',
    checkpoint: str | Path | None,
    folder: str | Path,
    progress: Callable[[str], None] = print,
    **options: Any,
) -> Path:
    """Export a model of this package for ONNX Runtime.

    Args:
        cfg: Config of the model.
        checkpoint: Its weights; None for random ones.
        folder: For the file.
        progress: Told what is going on.
        **options: More of ``rfdetr_mm.deploy.export.deploy_config``.

    Returns:
        The file.

    Raises:
        NotImplementedError: If the packages that export are not installed.
    """
    try:
        from rfdetr_mm.deploy.export import TASKS, deploy_config, export
    except ImportError as error:
        raise NotImplementedError(f'no export here: {error}') from error
    task = TASKS[cfg.model.bbox_head.type == 'RFDETRInsHead']
    deploy_cfg = deploy_config(task, 'onnxruntime', **options)
    (file,) = export(cfg, checkpoint, deploy_cfg, folder, progress=progress)
    return file


def onnx_session(
    file: Path, threads: int | None = None, **options: Any
) -> Any:
    """Open an ONNX file in ONNX Runtime on the CPU.

    Args:
        file: The file; it may be deleted afterwards.
        threads: How many, 0 for all cores; as many as torch has if None.
        **options: More of ONNX Runtime's ``SessionOptions``.

    Returns:
        The session.
    """
    import onnxruntime

    chosen = onnxruntime.SessionOptions()
    if threads is None:
        threads = torch.get_num_threads()
    chosen.intra_op_num_threads = threads
    for name, value in options.items():
        setattr(chosen, name, value)
    return onnxruntime.InferenceSession(
        file.read_bytes(), chosen, ['CPUExecutionProvider']
    )
