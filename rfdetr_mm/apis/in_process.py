"""A detector as one function of images, plain, traced or compiled."""

import copy
import warnings

import torch
from torch import Tensor, nn

from rfdetr_mm.errors import InputError
from rfdetr_mm.stack import autocast

BACKENDS = ('torchscript', 'inductor')
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# Their weights are all that is stored in a lower precision.
_PRODUCTS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.MultiheadAttention)


class RawDetector(nn.Module):
    """The network of a detector without pre- and post-processing.

    Runs what inference needs and no more: one group of queries, boxes and
    masks of the last decoder layer.

    Args:
        detector: An :class:`rfdetr_mm.models.RFDETR` in evaluation mode.
            Its modules are shared, not copied.
        dtype: What matrix products and convolutions compute in.
            Coordinates, sampled points and, on CUDA devices, norms and softmax
            stay in float32.
    """

    def __init__(
        self, detector: nn.Module, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.dtype = dtype
        self.backbone = detector.backbone
        self.neck = detector.neck
        self.head = detector.bbox_head

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Run the network.

        Args:
            images: Normalised, shape (bs, channels, h_px, w_px).

        Returns:
            Boxes, normalised (cx, cy, w, h), shape (bs, num_queries, 4);
            logits, shape (bs, num_queries, num_classes); with masks their
            logits, shape (bs, num_queries, mask_h, mask_w).
        """
        with autocast(
            images.device.type,
            self.dtype,
            cache_enabled=False,  # tracing would record its tensors
        ):
            return self._run(images)

    def _run(self, images: Tensor) -> tuple[Tensor, ...]:
        logits, boxes, *masks = self.head.raw_outputs(
            self.neck(self.backbone(images))
        )
        return boxes, logits, *masks


def optimize(
    detector: nn.Module,
    shape: tuple[int, int, int, int],
    dtype: torch.dtype = torch.float32,
    backend: str | None = 'torchscript',
    inplace: bool = False,
) -> nn.Module:
    """Make a copy of a detector's network for one shape and dtype.

    The detector is neither changed nor referred to, so deleting the copy
    undoes everything.

    Args:
        detector: An :class:`rfdetr_mm.models.RFDETR`; adapters are merged in
            the copy.
        shape: (bs, channels, h_px, w_px) of the images; without a backend
            it is not used.
        dtype: The dtype of matrix products, see :class:`RawDetector`.
        backend: ``'torchscript'`` traces the network and folds what depends
            on the shape alone, such as the resized position table;
            ``'inductor'`` compiles it by ``torch.compile``; None only copies
            and casts.
        inplace: Take the detector itself instead of a copy.

    Returns:
        A module with :class:`RawDetector`'s inputs and outputs. With a
        backend it takes images of ``shape`` only.

    Raises:
        InputError: If the backend or the dtype is not known.
    """
    if backend not in (*BACKENDS, None):
        raise InputError(
            f'The backend must be one of {", ".join(BACKENDS)}, got '
            f'{backend!r}'
        )
    if dtype not in DTYPES:
        raise InputError(
            f'dtype must be one of {", ".join(map(str, DTYPES))}, got {dtype}'
        )
    network = detector if inplace else copy.deepcopy(detector)
    network = network.eval().requires_grad_(False)
    network.merge_adapters()
    for module in network.modules():
        if isinstance(module, _PRODUCTS):
            module.to(dtype)
    network = RawDetector(network, dtype).eval()
    if backend is None:
        return network
    images = torch.rand(shape, device=next(network.parameters()).device)
    with torch.no_grad(), warnings.catch_warnings():
        if backend == 'torchscript':
            # That sizes become constants is the purpose.
            warnings.simplefilter('ignore', torch.jit.TracerWarning)
            traced = torch.jit.trace(network, images, check_trace=False)
            return torch.jit.freeze(traced)
        compiled = torch.compile(network, mode='reduce-overhead')
        # CUDA graphs are recorded at the second call.
        for _ in range(2):
            compiled(images)
    return compiled
