"""Training with weights, averages and optimizer states in shards (FSDP)."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from mmdet.registry import RUNNERS
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmengine.utils import apply_to
from torch import Tensor, nn

from rfdetr_mm.errors import InputError

# Classes whose weights are gathered when they run, and only then.
UNITS = ('DINOv2Block', 'RFDETRDecoderLayer')


@RUNNERS.register_module()
class ShardedRunner(Runner):
    """mmengine's Runner with torch's ``fully_shard`` in place of DDP.

    Use: ``--cfg-options runner_type=ShardedRunner`` with a launcher. Each
    process keeps its part of every weight, gradient, average and optimizer
    state, and gathers the weights of a block while that runs.

    All hooks work as with Runner, EMAHook included, and so do the
    checkpoints: they hold whole tensors, so a run may be resumed with
    another number of processes, with or without shards. For this, model and
    checkpoint are whole in every process until the training starts.

    Takes the arguments of Runner; ``model_wrapper_cfg`` has no meaning.
    Needs torch 2.6. Testing is Runner's, without shards.

    Raises:
        InputError: If torch is older, or there is no launcher.

    Source: PyTorch 2.9, torch.distributed.fsdp.fully_shard.
    """

    def wrap_model(
        self, model_wrapper_cfg: dict | None, model: nn.Module
    ) -> nn.Module:
        """Move the model to its device.

        Args:
            model_wrapper_cfg: Not used.
            model: The model, whole.

        Returns:
            The model; :meth:`load_or_resume` shards it.

        Raises:
            InputError: If there is only one process.
        """
        if not self.distributed:
            raise InputError(
                'runner_type=ShardedRunner shards a model over processes, but '
                'there is only one: start it by tools/dist_train.sh, or leave '
                'runner_type out'
            )
        return model.to(get_device())

    def load_or_resume(self) -> None:
        """Load as Runner does, then shard what is to be trained."""
        loaded = self._has_loaded
        super().load_or_resume()
        if isinstance(self.optim_wrapper, OptimWrapper) and not loaded:
            self._has_loaded = True
            self._shard()

    def _shard(self) -> None:
        try:
            from torch.distributed.fsdp import fully_shard
        except ImportError as error:
            raise InputError(
                'runner_type=ShardedRunner needs torch 2.6 or newer'
            ) from error
        whole = dict(self.model.named_parameters())
        for module in [*self.model.modules()][1:]:
            if type(module).__name__ in UNITS:
                fully_shard(module)
        # True: no weights of the root stay gathered after validation, where
        # EMAHook would find them instead of its shards.
        fully_shard(self.model, reshard_after_forward=True)
        shards = dict(self.model.named_parameters())
        _exchange(
            self.optim_wrapper.optimizer,
            {param: shards[name] for name, param in whole.items()},
        )
        clip = getattr(self.optim_wrapper, 'clip_func', None)
        if clip is not None:
            self.optim_wrapper.clip_func = _giving_the_whole_norm(clip)
        for average in self._averages():
            for path, param in [*average.module.named_parameters()]:
                owner, _, name = path.rpartition('.')
                shard = _shard_like(param.data, shards[path])
                average.module.get_submodule(owner).register_parameter(
                    name, nn.Parameter(shard, requires_grad=False)
                )
            average.avg_parameters = average.module.state_dict()

    def _averages(self) -> list[nn.Module]:
        return [h.ema_model for h in self.hooks if isinstance(h, EMAHook)]

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Gather in all processes, and save as Runner does in the first.

        Args:
            *args: Arguments of ``Runner.save_checkpoint``.
            **kwargs: Arguments of ``Runner.save_checkpoint``.
        """
        with contextlib.ExitStack() as stack:
            for owner in (self.model, self.optim_wrapper, *self._averages()):
                stack.enter_context(_answering_whole(owner))
            super().save_checkpoint(*args, **kwargs)


def _shard_like(value: Tensor, shard: Tensor) -> Tensor:
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, shard.device_mesh, shard.placements)


def _exchange(optimizer: Any, shards: dict[Tensor, Tensor]) -> None:
    """Let an optimizer work on shards, with its states in shards as well."""
    for group in optimizer.param_groups:
        group['params'] = [shards[param] for param in group['params']]
    states = dict(optimizer.state)
    optimizer.state.clear()
    for param, state in states.items():
        optimizer.state[shards[param]] = {
            name: _shard_like(value, shards[param])
            if isinstance(value, Tensor) and value.shape == param.shape
            else value
            for name, value in state.items()
        }


def _giving_the_whole_norm(
    clip: Callable[..., Tensor | None],
) -> Callable[..., Tensor | None]:
    """``clip`` returns a sum still to be made, and mmengine logs it."""
    from torch.distributed.tensor import DTensor

    def clip_whole(params: list[Tensor], **kwargs: Any) -> Tensor | None:
        norm = clip(params, **kwargs)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    return clip_whole


@contextlib.contextmanager
def _answering_whole(owner: Any) -> Iterator[None]:
    """Let ``owner.state_dict()`` give whole tensors, in the first process.

    Others get None for them, so that nobody else needs the room.
    """
    from torch.distributed.tensor import DTensor

    keep = is_main_process()

    def gather(shard: DTensor) -> Tensor | None:
        whole = shard.full_tensor()
        return whole.cpu() if keep else None

    state = apply_to(
        owner.state_dict(), lambda x: isinstance(x, DTensor), gather
    )
    owner.state_dict = lambda: state
    try:
        yield
    finally:
        del owner.state_dict
