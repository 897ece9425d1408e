"""Runs TensorRT engines behind the interface of mmdeploy. Needs a GPU."""

from collections.abc import Sequence

import tensorrt as trt
import torch
from mmdeploy.backend.base import BACKEND_WRAPPER, BaseWrapper
from mmdeploy.utils import Backend
from mmdeploy.utils.timer import TimeCounter
from torch import Tensor

from rfdetr_runtime.sessions.session import check_image_size

from ..session_wrapper import choose_outputs
from .engine import load_engine

# The counter of mmdeploy's own wrapper: names must not come twice.
TimeCounter.names.pop(Backend.TENSORRT.value, None)


@BACKEND_WRAPPER.register_module(Backend.TENSORRT.value, force=True)
class TensorRTWrapper(BaseWrapper):
    """Runs an engine on a GPU.

    Batches larger than the engine takes run in parts, those of one fixed
    size filled up.

    Args:
        engine_file: The ``.engine`` file.
        output_names: Wanted outputs, in order; all of the engine's unless
            given.
        device: Such as 'cuda:0'.

    Raises:
        InputError: If the engine cannot be loaded or lacks an output.
    """

    def __init__(
        self,
        engine_file: str,
        output_names: Sequence[str] | None = None,
        device: str = 'cuda:0',
    ) -> None:
        self._engine = load_engine(engine_file)
        names = [
            self._engine.get_tensor_name(i)
            for i in range(self._engine.num_io_tensors)
        ]
        inputs = [
            name
            for name in names
            if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        ]
        known = [name for name in names if name not in inputs]
        chosen = choose_outputs(engine_file, known, output_names)
        (self._input,) = inputs
        self._all_outputs = known
        self._context = self._engine.create_execution_context()
        self._file, self._device = engine_file, torch.device(device)
        # (bs, channels, h, w) of the least, the usual and the largest batch
        least, _, largest = self._engine.get_tensor_profile_shape(
            self._input, 0
        )
        self._least, self._largest = least[0], largest[0]
        self._size = tuple(largest[1:])
        super().__init__(chosen)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Run the engine.

        Args:
            inputs: One entry, images of shape (bs, channels, h_px, w_px).

        Returns:
            The wanted outputs by name, on the GPU.

        Raises:
            InputError: If the images are of another size.
        """
        (images,) = inputs.values()
        check_image_size(self._file, self._size, images.shape[1:])
        images = images.to(self._device, torch.float32)
        parts = []
        for part in images.split(self._largest):
            missing = max(self._least - len(part), 0)
            filled = torch.cat([part, part[:1].repeat(missing, 1, 1, 1)])
            outputs = self._run(filled.contiguous())
            parts.append({k: v[: len(part)] for k, v in outputs.items()})
        return {
            name: torch.cat([part[name] for part in parts])
            for name in self.output_names
        }

    @TimeCounter.count_time(Backend.TENSORRT.value)
    def _run(self, images: Tensor) -> dict[str, Tensor]:
        self._context.set_input_shape(self._input, tuple(images.shape))
        self._context.set_tensor_address(self._input, images.data_ptr())
        outputs = {}
        for name in self._all_outputs:
            # FLOAT, HALF, INT32, INT64: torch has them in small letters
            dtype = self._engine.get_tensor_dtype(name).name.lower()
            outputs[name] = torch.empty(
                tuple(self._context.get_tensor_shape(name)),
                dtype=getattr(torch, dtype),
                device=self._device,
            )
            self._context.set_tensor_address(name, outputs[name].data_ptr())
        stream = torch.cuda.current_stream(self._device)
        if not self._context.execute_async_v3(stream.cuda_stream):
            raise RuntimeError(f'TensorRT could not run {self._file}')
        stream.synchronize()
        return outputs
