"""Projector from a ViT's single-stride maps to the decoder's levels."""

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmdet.utils import OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor, nn

from rfdetr_mm.errors import InputError

from ..layers.channel_layer_norm import ChannelLayerNorm, ConvNormAct


class C2fFusion(nn.Module):
    """C2f block: split, a chain of bottlenecks, concatenation of all steps.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output, an even number.
        num_bottlenecks: Length of the chain; no residual inside.

    Source: rfdetr 1.11.2, models/backbone/projector.py, C2f.
    """

    def __init__(
        self, in_channels: int, out_channels: int, num_bottlenecks: int = 3
    ) -> None:
        super().__init__()
        half = out_channels // 2
        self.reduce = ConvNormAct(in_channels, 2 * half)
        self.bottlenecks = nn.ModuleList(
            nn.Sequential(
                ConvNormAct(half, half, kernel_size=3),
                ConvNormAct(half, half, kernel_size=3),
            )
            for _ in range(num_bottlenecks)
        )
        self.expand = ConvNormAct((2 + num_bottlenecks) * half, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (bs, in_channels, h, w) to (bs, out_channels, h, w)."""
        steps = list(self.reduce(x).chunk(2, dim=1))
        for bottleneck in self.bottlenecks:
            steps.append(bottleneck(steps[-1]))
        return self.expand(torch.cat(steps, dim=1))


@MODELS.register_module()
class MultiScaleProjector(BaseModule):
    """Fuse maps of one stride into one map for each wanted scale.

    For every scale the inputs are resampled (transposed convolution for 2,
    nothing for 1, strided convolution for 0.5), concatenated and fused.

    Args:
        in_channels: Channels of each input map.
        out_channels: Channels of each output map.
        scale_factors: Output size over input size, from {2.0, 1.0, 0.5},
            finest first: (1.0,) is P4 of a stride-16 backbone, (2.0, 0.5)
            are P3 and P5.
        num_bottlenecks: Bottlenecks of each fusion block.
        init_cfg: mmengine's.

    Raises:
        InputError: For other scale factors or another order.

    Source: LW-DETR (arXiv 2406.03459); rfdetr 1.11.2, MultiScaleProjector.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int = 256,
        scale_factors: Sequence[float] = (1.0,),
        num_bottlenecks: int = 3,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg)
        scale_factors = tuple(float(scale) for scale in scale_factors)
        known = {2.0, 1.0, 0.5}
        descending = sorted(set(scale_factors), reverse=True)
        if (
            not scale_factors
            or not known.issuperset(scale_factors)
            or list(scale_factors) != descending
        ):
            raise InputError(
                'scale_factors must come from {2.0, 1.0, 0.5}, largest first '
                f'and without repetition, got {scale_factors}'
            )
        self.in_channels = tuple(in_channels)
        self.scale_factors = scale_factors
        self.resamplers = nn.ModuleList(
            nn.ModuleList(_resampler(c, scale) for c in in_channels)
            for scale in scale_factors
        )
        self.fusions = nn.ModuleList(
            C2fFusion(
                sum(c // 2 if scale == 2.0 else c for c in in_channels),
                out_channels,
                num_bottlenecks,
            )
            for scale in scale_factors
        )
        self.norms = nn.ModuleList(
            ChannelLayerNorm(out_channels) for _ in scale_factors
        )

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Fuse the maps.

        Args:
            feats: One map for each of ``in_channels``, all of one size,
                shape (bs, in_channels[j], h, w).

        Returns:
            One map for each scale factor, shape (bs, out_channels,
            h * scale, w * scale); an odd side is rounded up for 0.5.

        Raises:
            InputError: If the number of maps is another.
        """
        if len(feats) != len(self.in_channels):
            raise InputError(
                'MultiScaleProjector was built for len(in_channels) = '
                f'{len(self.in_channels)} maps, got {len(feats)}; make '
                "in_channels fit the backbone's out_indices"
            )
        outs = []
        for resamplers, fusion, norm in zip(
            self.resamplers, self.fusions, self.norms
        ):
            resampled = [f(x) for f, x in zip(resamplers, feats)]
            outs.append(norm(fusion(torch.cat(resampled, dim=1))))
        return tuple(outs)


def _resampler(channels: int, scale: float) -> nn.Module:
    if scale == 2.0:
        return nn.ConvTranspose2d(channels, channels // 2, 2, stride=2)
    if scale == 0.5:
        return ConvNormAct(
            channels,
            channels,
            kernel_size=3,
            stride=2,
            activation=nn.ReLU(inplace=True),
        )
    return nn.Identity()
