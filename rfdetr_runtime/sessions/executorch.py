"""Runs ExecuTorch's files.

ExecuTorch's Python runtime takes and gives tensors of torch, which it brings
itself; nothing else of torch is used.
"""

import os
from pathlib import Path

import numpy as np

from rfdetr_mm_light.errors import InputError

from ..metadata import read_metadata
from .session import (
    Arrays,
    Session,
    check_cpu,
    import_runtime,
    not_readable,
    num_cpus,
    output_names,
)

INSTALL = "pip install 'rfdetr_mm[executorch]'"
_METHOD = 'forward'


class ExecuTorchSession(Session):
    """An ExecuTorch file on the CPU.

    Args:
        file: The ``.pte`` file.
        device: Only ``'cpu'``.
        threads: The number of threads, of all ExecuTorch files of the process
            together; one for each processor that the process may use unless
            given.

    Raises:
        InputError: If ExecuTorch is not installed or cannot read the file, or
            for another device.
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        device: str = 'cpu',
        threads: int | None = None,
    ) -> None:
        self.file = str(file)
        runtime = import_runtime('executorch.runtime', self.file, INSTALL)
        portable = import_runtime(
            'executorch.extension.pybindings.portable_lib', self.file, INSTALL
        )
        self._torch = import_runtime('torch', self.file, INSTALL)
        check_cpu(self.file, device)
        threads = threads or num_cpus()
        if portable._threadpool_get_thread_count() != threads:
            portable._unsafe_reset_threadpool(threads)
        texts = read_metadata(file)
        try:
            program = runtime.Runtime.get().load_program(Path(file))
            self._method = program.load_method(_METHOD)
            about = program.metadata(_METHOD)
        except (KeyError, RuntimeError) as error:
            raise not_readable(
                self.file, 'an ExecuTorch file', error
            ) from error
        if about.num_inputs() != 1:
            raise InputError(
                f'{self.file} is not a detector of RF-DETR: it has '
                f'{about.num_inputs()} inputs, and one is needed'
            )
        self.input_shape = tuple(about.input_tensor_meta(0).sizes())
        shapes = [
            tuple(about.output_tensor_meta(i).sizes())
            for i in range(about.num_outputs())
        ]
        # Outputs of a program have no names.
        names = output_names(self.file, texts, len(shapes))
        self.output_shapes = dict(zip(names, shapes, strict=True))

    def _run(self, images: np.ndarray) -> Arrays:
        outputs = self._method.execute([self._torch.from_numpy(images)])
        return {
            name: output.numpy()
            for name, output in zip(self.output_shapes, outputs, strict=True)
        }
