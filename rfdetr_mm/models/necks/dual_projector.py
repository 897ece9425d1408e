"""Two projectors over the same maps."""

from collections.abc import Sequence
from typing import Any

from mmdet.registry import MODELS
from torch import Tensor

from .multi_scale_projector import MultiScaleProjector


@MODELS.register_module()
class DualProjector(MultiScaleProjector):
    """A :class:`MultiScaleProjector`, and a second one for keypoints.

    :class:`RFDETRPoseHead` takes the maps of the second half for its
    keypoints. It takes the same maps for both if a neck gives one half only.

    Args:
        *args: Arguments of :class:`MultiScaleProjector`, the same for both.
        **kwargs: Its keyword arguments, the same for both.

    Source: rfdetr 1.11.2, Backbone with dual_projector.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.second = MultiScaleProjector(*args, **kwargs)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Fuse the maps twice.

        Args:
            feats: See :meth:`MultiScaleProjector.forward`.

        Returns:
            The maps of the first projector, then those of the second.
        """
        return *super().forward(feats), *self.second(feats)
