"""What a head computes with tensors, as a part that can be compiled."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from .decoder_memory import DecoderMemory
from .head_outputs import HeadOutputs

if TYPE_CHECKING:
    from ..dense_heads import RFDETRHead


class HeadStage(nn.Module):
    """Selection, decoder and branches, between the maps and the losses.

    It has no weights and is given the head, so that state dicts do not know
    it, and a copy of the head is compiled anew, as copies of modules are.
    """

    def forward(
        self,
        head: 'RFDETRHead',
        x: Sequence[Tensor],
        memory: DecoderMemory,
        num_groups: int,
    ) -> HeadOutputs:
        """Run the head on the maps.

        Args:
            head: Whose weights are used.
            x: Maps, one for each level, shape (bs, embed_dims, h, w).
            memory: The same as tokens.
            num_groups: How many groups to run, from the first on.

        Returns:
            What the head computes.
        """
        return head._outputs(x, memory, num_groups)
