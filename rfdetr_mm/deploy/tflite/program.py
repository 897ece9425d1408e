"""The program that litert-torch takes: channels last, without grid_sample."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..program import Program, register_program
from .grid_sample import grid_sample_by_rows
from .names import BACKEND_NAME


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


class TFLiteProgram(Program):
    """A program in the form that litert-torch converts."""

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


register_program(BACKEND_NAME, 'TFLite', TFLiteProgram)
