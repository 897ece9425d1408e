"""The RF-DETR detector."""

from typing import Any

from mmdet.models.detectors import SingleStageDetector
from mmdet.registry import MODELS
from mmdet.structures import OptSampleList, SampleList
from mmdet.utils import OptConfigType
from mmengine.structures import BaseDataElement
from torch import Tensor

from rfdetr_mm.errors import InputError

from ..loading.adapters import (
    add_adapters,
    fit_adapters,
    merge_adapted_layers,
)
from ..loading.state_dict_check import refuse_misfits
from ..subnet import Subnet, apply_subnet
from .other_size import explain_misfit, size_of_weights


@MODELS.register_module()
class RFDETR(SingleStageDetector):
    """Backbone, neck and :class:`RFDETRHead`, in one direction.

    With :class:`RFDETRInsHead` it segments instances.

    RF-DETR has no transformer encoder, so mmdet's ``DetectionTransformer``
    does not fit: the head owns query selection and decoder.

    Differs from its parent: the head sees the samples in ``mode='tensor'``
    too (for padding), and a checkpoint either fits in full or is refused
    before anything is loaded.

    Args:
        *args: Arguments of SingleStageDetector.
        adapters: Arguments of :func:`add_adapters`, e.g. ``dict(type='dora',
            rank=16, alpha=16)``: only low-rank adapters of the backbone are
            trained, its own weights are frozen. Checkpoints without adapters
            start them anew; a model without adapters merges those of a
            checkpoint.
        subnet: Name of the sub-network that the detector is, see
            :meth:`set_subnet`; None for all of it.
        **kwargs: Arguments of SingleStageDetector.

    Source: "RF-DETR: Neural Architecture Search for Real-Time Detection
        Transformers" (arXiv 2511.09554); rfdetr 1.11.2, LWDETR.
    """

    def __init__(
        self,
        *args: Any,
        adapters: OptConfigType = None,
        subnet: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        # Of the next loss, in its gradient and not in what is logged.
        self.loss_factor = 1.0
        self.predicts_losses = False
        if adapters is not None:
            add_adapters(self.backbone, **adapters)
        self.subnet: Subnet | None = None
        if subnet is not None:
            self.set_subnet(subnet)

    def set_subnet(self, subnet: Subnet | str) -> None:
        """Be a part of this detector from now on, or all of it again.

        Args:
            subnet: Image size, patch size, windows, decoder layers and
                queries, or their name such as ``384x512-p16-w2-d3-q300``.
                The images must come in that size.

        Raises:
            InputError: If the sub-network is impossible or not in the model.
        """
        if isinstance(subnet, str):
            subnet = Subnet.parse(subnet)
        apply_subnet(self, subnet)
        self.subnet = subnet

    def parse_losses(
        self, losses: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum the losses up, as mmengine does, times ``loss_factor``.

        Args:
            losses: What :meth:`loss` gives.

        Returns:
            The weighted sum, and what is logged, which is not weighted.
        """
        total, logged = super().parse_losses(losses)
        if self.loss_factor != 1.0:
            total = total * self.loss_factor
        return total, logged

    def predict(
        self,
        batch_inputs: Tensor,
        batch_data_samples: SampleList,
        rescale: bool = True,
    ) -> SampleList:
        """Detect objects; with ``predicts_losses`` compute losses as well.

        Args:
            batch_inputs: Normalised images, shape (bs, 3, h_px, w_px).
            batch_data_samples: Their meta data; for losses ``gt_instances``
                besides, in pixels of the network's input.
            rescale: Give boxes in pixels of the original image instead of
                the network's input.

        Returns:
            The samples with ``pred_instances``. With losses one element more,
            whose ``loss`` is what :meth:`RFDETRHead.loss` gives: mmengine's
            way to hand losses to a loop that validates.
        """
        if not self.predicts_losses:
            return super().predict(batch_inputs, batch_data_samples, rescale)
        losses, results = self.bbox_head.loss_and_predict(
            self.extract_feat(batch_inputs),
            batch_data_samples,
            rescale=rescale,
        )
        samples = self.add_pred_to_datasample(batch_data_samples, results)
        return [*samples, BaseDataElement(loss=losses)]

    def merge_adapters(self) -> int:
        """Merge all adapters into the weights, in place, for deployment.

        Returns:
            How many layers had one.
        """
        return merge_adapted_layers(self)

    def _forward(
        self, batch_inputs: Tensor, batch_data_samples: OptSampleList = None
    ) -> tuple[Tensor, ...]:
        """Run the network without post-processing.

        Args:
            batch_inputs: Normalised images, shape (bs, 3, h_px, w_px).
            batch_data_samples: Their meta data; without it nothing is
                taken for padding.

        Returns:
            Of :meth:`RFDETRHead.forward`, or of that of
            :class:`RFDETRInsHead`.
        """
        return self.bbox_head(
            self.extract_feat(batch_inputs), batch_data_samples
        )

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        given = size_of_weights(state_dict, prefix)
        try:
            self._fit_state_dict(state_dict, prefix)
        except InputError as error:
            own = size_of_weights(self.state_dict())
            raise explain_misfit(error, given, own) from error
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _fit_state_dict(self, state_dict: dict, prefix: str) -> None:
        fit_adapters(self, state_dict, prefix)
        # The head first: in a file of another task nothing fits.
        for name, module in reversed(list(self.named_children())):
            if hasattr(module, 'adapt_state_dict'):
                module.adapt_state_dict(state_dict, f'{prefix}{name}.')
        refuse_misfits(self, state_dict, prefix)
