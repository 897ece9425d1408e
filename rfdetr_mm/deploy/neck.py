"""MultiScaleProjector's fusion as a graph."""

import torch
from mmdeploy.core import MODULE_REWRITER
from mmengine.config import Config
from torch import Tensor, nn

from rfdetr_mm.models.necks.multi_scale_projector import C2fFusion


@MODULE_REWRITER.register_rewrite_module(
    'rfdetr_mm.models.necks.multi_scale_projector.C2fFusion'
)
class FusionGraph(nn.Module):
    """:class:`C2fFusion` that splits channels by a known number.

    Args:
        module: The fusion.
        deploy_cfg: Not used; part of mmdeploy's interface.
    """

    def __init__(self, module: C2fFusion, deploy_cfg: Config) -> None:
        super().__init__()
        self.reduce, self.expand = module.reduce, module.expand
        self.bottlenecks = module.bottlenecks
        self.half = module.reduce.conv.out_channels // 2

    def forward(self, x: Tensor) -> Tensor:
        """Map (bs, in_channels, h, w) to (bs, out_channels, h, w)."""
        steps = list(self.reduce(x).split(self.half, dim=1))
        for bottleneck in self.bottlenecks:
            steps.append(bottleneck(steps[-1]))
        return self.expand(torch.cat(steps, dim=1))
