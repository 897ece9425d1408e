"""Early stopping that does not look at the first epochs."""

from mmdet.registry import HOOKS
from mmengine.hooks import EarlyStoppingHook
from mmengine.runner import Runner


@HOOKS.register_module()
class LateStoppingHook(EarlyStoppingHook):
    """EarlyStoppingHook without some epochs at the beginning.

    Args:
        monitor: Name of the metric.
        skip_best_epochs: Epochs whose validation it does not count.
        **kwargs: Arguments of EarlyStoppingHook.

    Source: rfdetr 1.11.2, RFDETREarlyStopping (interface).
    """

    def __init__(
        self, monitor: str, skip_best_epochs: int = 0, **kwargs: object
    ) -> None:
        super().__init__(monitor, **kwargs)
        self.skip_best_epochs = skip_best_epochs

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Stop the training if the metric has stayed where it was.

        Args:
            runner: The runner.
            metrics: The metrics of the validation.
        """
        if runner.epoch > self.skip_best_epochs:
            super().after_val_epoch(runner, metrics)
