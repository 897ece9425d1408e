"""Training all sub-networks of a detector at once."""

from collections.abc import Mapping
from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch import nn

from rfdetr_mm.checkpoints import add_decoder_layers, decoder_depth
from rfdetr_mm.errors import InputError
from rfdetr_mm.models.subnet import SearchSpace, Subnet


@HOOKS.register_module()
class SubnetHook(Hook):
    """Draw the sub-network of each optimizer step.

    All points of the search space are equally likely. The draw depends on
    nothing but the seed and the number of the step, so that all processes
    train the same sub-network and a resumed run goes on with those of an
    uninterrupted one. The iterations whose gradients are accumulated share
    a draw.

    Validation sees the sub-network that the model was built with
    (``model.subnet``), whose image size is that of the test pipeline.

    A training that starts from a checkpoint of fewer decoder layers repeats
    its last one and says so.

    Args:
        search_space: See :class:`SearchSpace`; ``search_space`` of the
            config if None.
        seed: Seed of the sequence of draws; the same in all processes.
        largest_first: Let the first step train the largest sub-network, so
            that a run that does not fit into memory stops there and not
            hours later.

    Raises:
        InputError: If ``search_space`` is not a search space.

    Source: "RF-DETR: Neural Architecture Search for Real-Time Detection
        Transformers" (arXiv 2511.09554).
    """

    # In front of ClassRowsHook and EMAHook, which copies the weights.
    priority = 'VERY_HIGH'

    def __init__(
        self,
        search_space: Mapping[str, Any] | None = None,
        seed: int = 0,
        largest_first: bool = True,
    ) -> None:
        self.space: SearchSpace | None = None
        if search_space is not None:
            self.space = SearchSpace.from_config(search_space)
        self.seed = seed
        self.largest_first = largest_first
        self._subnet_of_validation: Subnet | None = None

    def subnet_at(self, step: int) -> Subnet:
        """Give the sub-network of one step, at its real image size.

        Args:
            step: Steps of the optimizer done before.
        """
        if step == 0 and self.largest_first:
            return self.space.largest()
        return self.space.draw(step, self.seed).rounded()

    def before_train(self, runner: Runner) -> None:
        """Check that the model holds all of the space.

        Args:
            runner: The runner; its model is an RFDETR.

        Raises:
            InputError: If a sub-network of the space is not in the model.
            InputError: If there is not a search space, or validation would not
                know what to validate.
        """
        if self.space is None and 'search_space' not in runner.cfg:
            raise InputError(
                'SubnetHook needs to know what to draw from: add '
                "'../_base_/search_spaces/rfdetr.py' to the config's _base_, "
                'or search_space=dict(...)'
            )
        if self.space is None:
            self.space = SearchSpace.from_config(runner.cfg.search_space)
        model = _unwrapped(runner.model)
        if model.subnet is None:
            raise InputError(
                'SubnetHook needs to know which sub-network is validated: '
                'set model.subnet, e.g. to 384x384-p16-w2-d3-q300, and the '
                'scale of the test pipeline to its image size'
            )
        self._subnet_of_validation = model.subnet
        model.set_subnet(self.space.largest())

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        """Let the model be the sub-network of this step.

        Args:
            runner: The runner.
            batch_idx: Not used.
            data_batch: Not used.
        """
        accumulated = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        subnet = self.subnet_at(runner.iter // accumulated)
        _unwrapped(runner.model).set_subnet(subnet)

    def before_val(self, runner: Runner) -> None:
        """Let the model be the sub-network that is validated.

        Args:
            runner: The runner.
        """
        if self._subnet_of_validation is not None:
            model = _unwrapped(runner.model)
            model.set_subnet(self._subnet_of_validation)

    def after_train(self, runner: Runner) -> None:
        """Leave the model as it was built.

        Args:
            runner: The runner.
        """
        self.before_val(runner)

    def after_load_checkpoint(
        self, runner: Runner, checkpoint: dict[str, Any]
    ) -> None:
        """Give a shallower checkpoint the model's decoder layers.

        Args:
            runner: The runner that loads.
            checkpoint: The loaded checkpoint; its weights are added to if a
                training starts from it.
        """
        starts = isinstance(runner._train_loop, BaseLoop)
        if runner._resume or not starts:
            return
        weights = checkpoint.get('state_dict', checkpoint)
        known = decoder_depth(weights)
        wanted = len(_unwrapped(runner.model).bbox_head.decoder.layers)
        if 0 < known < wanted:
            weights.update(add_decoder_layers(weights, wanted))
            runner.logger.warning(
                f'The checkpoint has {known} decoder layers and the model '
                f'{wanted}: the others start as copies of the last one.'
            )


def _unwrapped(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model
