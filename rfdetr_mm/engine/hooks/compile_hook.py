"""torch.compile for the parts of a detector that gain from it."""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from rfdetr_mm.stack import COMPILES_TRAINING

PARTS = (
    'backbone',
    'neck',
    'bbox_head.stage',
    'bbox_head.loss_stage',
)
# Their sizes change with the number of objects.
DYNAMIC_PARTS = ('bbox_head.loss_stage',)


@HOOKS.register_module()
class CompileHook(Hook):
    """Compile parts of the model when a training begins.

    ``cfg.compile`` of mmengine compiles the whole training step: what
    prepares the data, the matching and the optimizer as well, whose graphs
    are broken or change with every number of objects. It works, but takes
    many times longer to start. This hook leaves all of that alone.

    Weights, keys of checkpoints and averages are those of the model without
    it. Image sizes of multi-scale training are compiled once, as dynamic
    shapes. A drop path rate that changes in every iteration (DropPathHook)
    is compiled anew each time, until torch gives up and runs the backbone as
    it is.

    Args:
        parts: Names of the submodules to compile.
        cuda_graphs: Record the compiled kernels on a GPU once for each image
            size and replay them, which spares the time to launch them one by
            one; but for the losses. Gradients cannot be accumulated then.
        **kwargs: Arguments of ``torch.compile``, e.g. ``dynamic=False``. With
            ``backend='cudagraphs'`` the kernels are recorded as they are,
            which starts sooner than compiling them.

    Raises:
        RuntimeError: If CUDA graphs are wanted of a torch before 2.2.

    Source: rfdetr 1.11.2, ModelConfig.compile, ModelConfig.cuda_graphs.
    """

    def __init__(
        self,
        parts: Sequence[str] = PARTS,
        cuda_graphs: bool = False,
        **kwargs: Any,
    ) -> None:
        self.parts = tuple(parts)
        self.backend = kwargs.get('backend', 'inductor')
        self.cuda_graphs = cuda_graphs or self.backend == 'cudagraphs'
        self.kwargs = kwargs
        if self.cuda_graphs and not hasattr(
            torch.compiler, 'cudagraph_mark_step_begin'
        ):
            raise RuntimeError(
                'CompileHook records CUDA graphs with torch 2.2 and later, '
                f'this is {torch.__version__}; leave cuda_graphs and '
                "backend='cudagraphs' out"
            )
        if cuda_graphs:
            options = kwargs.get('options') or {}
            kwargs['options'] = {**options, 'triton.cudagraphs': True}

    def before_train(self, runner: Runner) -> None:
        """Compile; torch does the work at the first call of each part.

        Args:
            runner: The runner.

        Raises:
            AttributeError: If the model has no such part.
        """
        if self.backend == 'inductor' and not COMPILES_TRAINING:
            runner.logger.warning(
                'compiled by torch 2.1.2, the losses of a training were NaN. '
                "Take a later torch, or CompileHook's backend='eager', or "
                'leave the hook out'
            )
        model = runner.model
        if is_model_wrapper(model):
            model = model.module
        for name in self.parts:
            part = model.get_submodule(name)
            if name not in DYNAMIC_PARTS:
                part.compile(**self.kwargs)
            elif self.backend != 'cudagraphs' and COMPILES_TRAINING:
                part.compile(**self._dynamic_kwargs())
        runner.logger.info(
            f'{", ".join(self.parts)} will be compiled; the first iterations '
            'take longer'
        )

    def _dynamic_kwargs(self) -> dict[str, Any]:
        """For a part of any size, which nothing can be recorded of."""
        kwargs = {**self.kwargs, 'dynamic': True}
        kwargs.pop('mode', None)  # might record
        if self.cuda_graphs:
            kwargs['options'] = {
                **kwargs['options'],
                'triton.cudagraphs': False,
            }
        return kwargs

    def before_train_iter(
        self, runner: Runner, *args: Any, **kwargs: Any
    ) -> None:
        """Let the recorded kernels use the memory of the step before.

        Args:
            runner: Not used.
            *args: Not used.
            **kwargs: Not used.
        """
        if self.cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()
