"""Layer norm over the channels of a map, and the convolution before it."""

from torch import Tensor, nn


class ChannelLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of an NCHW map, per position.

    Args:
        num_channels: Channels of the map.

    Source: rfdetr 1.11.2, models/backbone/projector.py, LayerNorm.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__(num_channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (bs, num_channels, h, w); strides become NHWC's."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNormAct(nn.Module):
    """Convolution without bias, channel layer norm, activation.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd side of the kernel; the padding keeps the size.
        stride: Stride of the convolution.
        activation: Element-wise function; SiLU by default.

    Source: rfdetr 1.11.2, models/backbone/projector.py, ConvX.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            bias=False,
        )
        self.norm = ChannelLayerNorm(out_channels)
        self.activation = activation or nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (bs, in_channels, h, w) to (bs, out_channels, h', w')."""
        # The norm leaves NHWC strides, which would pick another convolution
        # kernel and change results by 1e-5 against upstream.
        return self.activation(self.norm(self.conv(x.contiguous())))
