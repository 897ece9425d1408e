"""Losses of a validation or test, from the passes that detect."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from rfdetr_mm.datasets.truth_of_input import (
    annotations_follow_resize,
    truth_of_input,
)
from rfdetr_mm.errors import InputError

from .random_state import kept_random_state

LOSS = 'loss'
"""Name of the total, behind ``val/`` or ``test/``."""


class EvaluationLosses:
    """Mean losses over the images of one evaluation.

    One pass of the network gives detections and losses. Nothing else
    changes: the random numbers that the points of masks are drawn from are
    put back, and data samples keep their objects as they were loaded.

    Args:
        model: The detector, or a wrapper around it.
        dataloader: Config of the data loader.

    Raises:
        InputError: If the model gives no losses where it detects.

    Source: rfdetr 1.11.2, RFDETRModelModule.validation_step
        (``compute_val_loss``): one group of queries, the weighted sum of all
        layers, the mean over batches weighted by their images.
    """

    def __init__(self, model: nn.Module, dataloader: dict) -> None:
        while is_model_wrapper(model):
            model = model.module
        if not hasattr(model, 'predicts_losses'):
            raise InputError(
                'losses of a validation or test come from the detector '
                f'RFDETR, got {type(model).__name__}: set '
                "val_cfg.type='ValLoop' and test_cfg.type='TestLoop', and "
                'leave --tta out'
            )
        self._model = model
        self._in_original_pixels = annotations_follow_resize(
            dataloader['dataset']
        )
        self._sums: dict[str, Tensor] = {}
        self._num_images = 0

    def run(
        self, step: Callable[[dict], Sequence[Any]], data_batch: dict
    ) -> list[Any]:
        """Detect the objects of a batch, and add its losses up.

        Args:
            step: ``val_step`` or ``test_step`` of the model.
            data_batch: The batch, with ``data_samples``.

        Returns:
            The samples with their detections.

        Raises:
            InputError: If the samples have no objects that were annotated.
        """
        samples = data_batch['data_samples']
        if not all('gt_instances' in sample for sample in samples):
            raise InputError(
                'losses need annotated objects, but the pipeline of this '
                "data set loads none: put dict(type='LoadAnnotations', "
                'with_bbox=True) into it, or turn the losses off '
                "(val_cfg.type='ValLoop', test_cfg.type='TestLoop')"
            )
        loaded = [truth_of_input(sample, False) for sample in samples]
        of_input = [sample.new() for sample in samples]
        for sample in of_input:
            sample.gt_instances = truth_of_input(
                sample, self._in_original_pixels
            )
        self._model.predicts_losses = True
        try:
            with kept_random_state(), torch.random.fork_rng(self._gpus()):
                *outputs, last = step(dict(data_batch, data_samples=of_input))
                # Without what only a gradient is multiplied with
                _, losses = self._model.parse_losses(last.loss)
        finally:
            self._model.predicts_losses = False
        for output, truth in zip(outputs, loaded, strict=True):
            output.gt_instances = truth.to(output.pred_instances.bboxes.device)
        self._add(losses, len(samples))
        return outputs

    def _gpus(self) -> list[int]:
        device = next(self._model.parameters()).device
        return [device.index or 0] if device.type == 'cuda' else []

    def _add(self, losses: dict[str, Any], num_images: int) -> None:
        self._num_images += num_images
        for name, value in losses.items():
            value = torch.as_tensor(value, dtype=torch.float64).detach()
            self._sums[name] = self._sums.get(name, 0) + value * num_images

    def means(self, prefix: str) -> dict[str, float]:
        """Give the means, over all processes, and start again.

        Args:
            prefix: What the names begin with, ``'val/'`` or ``'test/'``.

        Returns:
            Name to value; ``loss`` behind the prefix is the total.
        """
        names, sums = [*self._sums], [*self._sums.values()]
        numbers = torch.stack([*sums, sums[0].new_tensor(self._num_images)])
        all_reduce(numbers)
        self._sums, self._num_images = {}, 0
        *sums, num_images = numbers.tolist()
        return {f'{prefix}{n}': v / num_images for n, v in zip(names, sums)}


def with_masks(model: nn.Module, dataloader: dict) -> dict:
    """Let a data loader load masks if the model has any.

    Args:
        model: The model, or a wrapper around it.
        dataloader: Config of a data loader whose pipeline may leave masks
            out, since metrics read them from the file.

    Returns:
        The config, or a changed copy of it.
    """
    while is_model_wrapper(model):
        model = model.module
    if getattr(model, 'bbox_head', None) is None:
        return dataloader
    if not hasattr(model.bbox_head, 'mask_branch'):
        return dataloader
    dataloader = copy.deepcopy(dataloader)
    dataset = dataloader['dataset']
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    for transform in dataset.get('pipeline', []):
        if transform['type'] == 'LoadAnnotations':
            transform['with_mask'] = True
    return dataloader
