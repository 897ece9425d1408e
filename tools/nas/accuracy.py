"""Validation of sub-networks without training them."""

import contextlib
import copy
import io
import logging
from collections.abc import Iterator, Sequence

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from rfdetr_mm.models import Subnet
from rfdetr_mm.sizes.config_facts import set_image_size


def build_model(
    cfg: Config, weights: dict[str, Tensor], device: str
) -> nn.Module:
    """Build a detector, load its weights and switch to evaluation.

    Args:
        cfg: Its config.
        weights: Its state dict.
        device: The device to put it on.

    Raises:
        InputError: If the weights are of another model.
    """
    model = MODELS.build(cfg.model)
    model.load_state_dict(weights)
    return model.to(device).eval()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the evaluator's tables and messages out of the progress."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


class Accuracy:
    """Evaluates sub-networks on the validation set.

    Sub-networks that differ in decoder layers and queries alone share the
    backbone's pass over the images.

    Args:
        cfg: The supernet's config.
        weights: Its state dict.
        device: The device to run on.
    """

    def __init__(
        self, cfg: Config, weights: dict[str, Tensor], device: str
    ) -> None:
        self.cfg = cfg
        self.model = build_model(cfg, weights, device)
        self._size: tuple[int, int] | None = None
        self._loader: DataLoader | None = None

    def _loader_at(self, size: tuple[int, int]) -> DataLoader:
        """The validation set at an image size; the last one is kept."""
        if size != self._size:
            cfg = copy.deepcopy(self.cfg)
            set_image_size(cfg, size)
            with _quiet():
                self._loader = Runner.build_dataloader(
                    cfg.val_dataloader, seed=0
                )
            self._size = size
        return self._loader

    @torch.no_grad()
    def evaluate(self, subnets: Sequence[Subnet]) -> list[dict[str, float]]:
        """Evaluate sub-networks that have the backbone in common.

        Args:
            subnets: Real points of one image size, patch size and number of
                windows.

        Returns:
            The evaluator's metrics of each, fractions of 1.
        """
        loader = self._loader_at(subnets[0].resolution)
        with _quiet():
            evaluators = [
                Evaluator(copy.deepcopy(self.cfg.val_evaluator))
                for _ in subnets
            ]
        for evaluator in evaluators:
            evaluator.dataset_meta = loader.dataset.metainfo
        for batch in loader:
            self.model.set_subnet(subnets[0])
            data = self.model.data_preprocessor(batch, False)
            feats = self.model.extract_feat(data['inputs'])
            samples = data['data_samples']
            for subnet, evaluator in zip(subnets, evaluators):
                self.model.set_subnet(subnet)
                results = self.model.bbox_head.predict(feats, samples)
                evaluator.process(
                    self.model.add_pred_to_datasample(samples, results), batch
                )
        with _quiet():
            found = [e.evaluate(len(loader.dataset)) for e in evaluators]
        return [{k: float(v) for k, v in metrics.items()} for metrics in found]
