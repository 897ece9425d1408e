"""The two graphs that pnnx converts, as TorchScript."""

import io
import json
import os
import zipfile
from collections.abc import Sequence
from typing import Any

import torch
from mmdeploy.utils import Backend
from torch import Tensor

from rfdetr_mm.checkpoints import atomic_file
from rfdetr_runtime.sessions.ncnn import DETECTIONS, PROPOSALS

from ..detector import DetectorGraph
from ..onnx_file import metadata
from ..program import METADATA_FILE, Program, register_program
from .graphs import DetectionsGraph, ProposalsGraph, check_graph


class NCNNProgram(Program):
    """A model that is saved as an archive of two graphs in TorchScript.

    Args:
        model: The graph; it has learned its sizes.
        images: What it takes, shape (1, channels, h_px, w_px).
        output_names: The names of its outputs.

    Raises:
        InputError: If ncnn cannot have such a model.
    """

    def __init__(
        self,
        model: DetectorGraph,
        images: Tensor,
        output_names: Sequence[str],
    ) -> None:
        super().__init__(model, images, output_names)
        check_graph(model, images)

    @torch.no_grad()
    def save(
        self, path: str | os.PathLike[str], _extra_files: Any = None
    ) -> None:
        """Write the archive; it appears whole or not at all.

        Args:
            path: The file to write.
            _extra_files: Not used; part of TorchScript's interface.
        """
        model = self.model.eval()
        outputs = model(self.images)
        num_queries = model.bbox_head.num_selected
        facts = metadata(model, tuple(self.images.shape[-2:]))
        for name, value in (
            ('output_names', list(self.output_names)),
            ('input_shape', list(self.images.shape)),
            ('output_shapes', [list(output.shape) for output in outputs]),
            ('num_queries', num_queries),
        ):
            facts[name] = json.dumps(value)
        first, second = ProposalsGraph(model), DetectionsGraph(model)
        _, tokens, boxes = first(self.images)
        chosen = boxes[:, :num_queries].contiguous()
        with atomic_file(path) as file, zipfile.ZipFile(file, 'w') as archive:
            archive.writestr(METADATA_FILE, json.dumps(facts))
            for name, graph, inputs in (
                (PROPOSALS, first, (self.images,)),
                (DETECTIONS, second, (tokens, chosen)),
            ):
                archive.writestr(f'{name}.pt', _trace(graph, inputs))


def _trace(graph: torch.nn.Module, inputs: tuple[Tensor, ...]) -> bytes:
    """TorchScript of a graph, which knows the shapes of its inputs."""
    buffer = io.BytesIO()
    traced = torch.jit.trace(graph.eval(), inputs, check_trace=False)
    torch.jit.save(traced, buffer)
    return buffer.getvalue()


register_program(Backend.NCNN.value, 'ncnn', NCNNProgram)
