"""The model as a torch.export program, between PyTorch and TFLite."""

import io
import json
import os
from collections.abc import Sequence
from typing import Any

import torch
from mmdeploy.core import FUNCTION_REWRITER
from mmdeploy.utils import IR, get_ir_config
from torch import Tensor, nn

from rfdetr_mm.checkpoints import atomic_file
from rfdetr_mm.errors import InputError

from ..detector import DetectorGraph
from ..onnx_file import example_images, metadata
from .grid_sample import grid_sample_by_rows
from .names import BACKEND_NAME

METADATA_FILE = 'metadata.json'  # within the program's archive


class ChannelsLastModel(nn.Module):
    """Takes images channels last, as TFLite does, and names its outputs.

    Args:
        model: Takes images (bs, channels, h_px, w_px), gives a tuple.
        output_names: The names of what the tuple holds.
    """

    def __init__(self, model: nn.Module, output_names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.output_names = tuple(output_names)

    def forward(self, input: Tensor) -> dict[str, Tensor]:
        """Run the model.

        Args:
            input: Shape (bs, h_px, w_px, channels).

        Returns:
            The outputs by name.
        """
        outputs = self.model(input.permute(0, 3, 1, 2))
        return dict(zip(self.output_names, outputs, strict=True))


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
        """Export the model, its images channels last."""
        exported = torch.export.export(
            ChannelsLastModel(self.model, self.output_names).eval(),
            (),
            {'input': self.images.permute(0, 2, 3, 1).contiguous()},
        )
        # Free of operators that change tensors, so that it can be read again
        return exported.run_decompositions(
            {torch.ops.aten.grid_sampler_2d.default: grid_sample_by_rows}
        )

    def save(
        self, path: str | os.PathLike[str], _extra_files: Any = None
    ) -> None:
        """Write the program; the file appears whole or not at all.

        Args:
            path: The file to write.
            _extra_files: Not used; part of TorchScript's interface.
        """
        facts = metadata(self.model, tuple(self.images.shape[-2:]))
        buffer = io.BytesIO()
        torch.export.save(
            self.export(),
            buffer,
            extra_files={METADATA_FILE: json.dumps(facts)},
        )
        with atomic_file(path) as file:
            file.write(buffer.getbuffer())


@FUNCTION_REWRITER.register_rewriter(
    'torch.jit.trace', backend=BACKEND_NAME, ir=IR.TORCHSCRIPT
)
def make_program(
    func: nn.Module, example_inputs: Tensor, **kwargs: Any
) -> Program:
    """Prepare the export of a model where mmdeploy would trace it.

    Args:
        func: The model, its parts replaced by graphs.
        example_inputs: Images, shape (bs, channels, h_px, w_px).
        **kwargs: Not used; part of the interface of ``torch.jit.trace``.

    Returns:
        The program.

    Raises:
        InputError: If the model is not RF-DETR, or the deploy config names
            another number of outputs.
    """
    if not isinstance(func, DetectorGraph):
        raise InputError(
            'only RF-DETR (type RFDETR) can be exported to TFLite, got '
            f'{type(func).__name__}'
        )
    ctx = FUNCTION_REWRITER.get_context()
    images = example_images(example_inputs, ctx.cfg)
    func.eval()
    outputs = func(images)  # the graph learns its sizes
    names = get_ir_config(ctx.cfg)['output_names']
    if len(names) != len(outputs):
        raise InputError(
            f'the model has {len(outputs)} outputs, the deploy config names '
            f'{list(names)} (ir_config.output_names)'
        )
    return Program(func, images, names)


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
