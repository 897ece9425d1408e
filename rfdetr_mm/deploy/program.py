"""The model as a torch.export program, for backends that convert PyTorch.

mmdeploy has a slot for TorchScript between PyTorch and a backend. For backends
that convert without ONNX, the file in that slot holds a program of
``torch.export``.
"""

import io
import json
import os
from collections.abc import Sequence
from typing import Any

import torch
from mmdeploy.core import FUNCTION_REWRITER
from mmdeploy.utils import IR, get_ir_config
from mmengine.config import Config
from torch import Tensor, nn

from rfdetr_mm.checkpoints import atomic_file
from rfdetr_mm.errors import InputError

from .detector import DetectorGraph
from .onnx_file import example_images, metadata

METADATA_FILE = 'metadata.json'  # within the program's archive


class Program:
    """A model that is saved as a program of ``torch.export``.

    mmdeploy's ``trace`` hands what it got from ``torch.jit.trace`` to
    ``torch.jit.save``, which calls :meth:`save`. By then mmdeploy's
    replacements of PyTorch's functions are gone, which ``torch.export`` does
    not take well.

    Args:
        model: The graph; it has learned its sizes.
        images: What it takes, shape (bs, channels, h_px, w_px).
        output_names: The names of its outputs.
    """

    def __init__(
        self,
        model: DetectorGraph,
        images: Tensor,
        output_names: Sequence[str],
    ) -> None:
        self.model = model
        self.images = images
        self.output_names = output_names

    def export(self) -> torch.export.ExportedProgram:
        """Export the model as it is."""
        return torch.export.export(self.model.eval(), (self.images,))

    def save(
        self, path: str | os.PathLike[str], _extra_files: Any = None
    ) -> None:
        """Write the program; the file appears whole or not at all.

        Args:
            path: The file to write.
            _extra_files: Not used; part of TorchScript's interface.
        """
        facts = metadata(self.model, tuple(self.images.shape[-2:]))
        facts['output_names'] = json.dumps(list(self.output_names))
        buffer = io.BytesIO()
        torch.export.save(
            self.export(),
            buffer,
            extra_files={METADATA_FILE: json.dumps(facts)},
        )
        with atomic_file(path) as file:
            file.write(buffer.getbuffer())


def prepare_graph(
    func: nn.Module, example_inputs: Tensor, deploy_cfg: Config, title: str
) -> tuple[DetectorGraph, Tensor, list[str]]:
    """Prepare the export of a model where mmdeploy would trace it.

    Args:
        func: The model, its parts replaced by graphs.
        example_inputs: Images, shape (bs, channels, h_px, w_px).
        deploy_cfg: The deploy config.
        title: What people call the backend, for the message.

    Returns:
        The graph, which has learned its sizes; images of the configured size;
        the names of its outputs.

    Raises:
        InputError: If the model is not RF-DETR, or the deploy config names
            another number of outputs.
    """
    if not isinstance(func, DetectorGraph):
        raise InputError(
            f'only RF-DETR (type RFDETR) can be exported to {title}, got '
            f'{type(func).__name__}'
        )
    images = example_images(example_inputs, deploy_cfg)
    func.eval()
    outputs = func(images)
    names = list(get_ir_config(deploy_cfg)['output_names'])
    if len(names) != len(outputs):
        raise InputError(
            f'the model has {len(outputs)} outputs, the deploy config names '
            f'{names} (ir_config.output_names)'
        )
    return func, images, names


def load_program(
    path: str | os.PathLike[str],
) -> tuple[torch.export.ExportedProgram, dict[str, str]]:
    """Read what :meth:`Program.save` wrote.

    Args:
        path: The file.

    Returns:
        The program, and the metadata of the model.
    """
    extra = {METADATA_FILE: ''}
    with open(path, 'rb') as file:
        exported = torch.export.load(
            io.BytesIO(file.read()), extra_files=extra
        )
    return exported, json.loads(extra[METADATA_FILE])


def register_program(
    backend: str, title: str, kind: type[Program] = Program
) -> None:
    """Let a backend get a program where mmdeploy would trace the model.

    Args:
        backend: Its name in mmdeploy.
        title: What messages call it.
        kind: The class of its programs.
    """

    @FUNCTION_REWRITER.register_rewriter(
        'torch.jit.trace', backend=backend, ir=IR.TORCHSCRIPT
    )
    def make_program(
        func: nn.Module, example_inputs: Tensor, **kwargs: Any
    ) -> Program:
        cfg = FUNCTION_REWRITER.get_context().cfg
        return kind(*prepare_graph(func, example_inputs, cfg, title))
