"""What happens when a checkpoint has other classes than the model."""

from collections.abc import MutableMapping, Sequence
from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner

from rfdetr_mm.checkpoints import CLASS_ROW_WEIGHTS, resize_class_rows

_ROWS_KEY = CLASS_ROW_WEIGHTS[1][0]
_MAX_NAMES = 10


@HOOKS.register_module()
class ClassRowsHook(Hook):
    """Compare the classes of a loaded checkpoint with the model's.

    If the numbers differ, training from ``load_from`` re-initialises the
    class rows (repeated or cut, as upstream does) and warns once; testing and
    resuming stop with an error, because rows of other classes give plausible
    nonsense. If the numbers agree and the names do not, there is a warning in
    all cases: a class may have been renamed, so this is no error.

    Models without our class rows and checkpoints without any (a backbone's)
    are left alone. The hook has to come before EMAHook, which copies the
    checkpoint's weights, hence its priority.
    """

    priority = 'VERY_HIGH'

    def after_load_checkpoint(
        self, runner: Runner, checkpoint: dict[str, Any]
    ) -> None:
        """Check, and in training fit, the class rows.

        Args:
            runner: The runner that loads.
            checkpoint: The loaded checkpoint; its weights are changed in
                place if they are fitted.

        Raises:
            ValueError: If the numbers of classes differ in testing or
                resuming.
        """
        num_classes = _model_class_rows(runner.model)
        weights = checkpoint.get('state_dict', checkpoint)
        prefix = 'module.' if f'module.{_ROWS_KEY}' in weights else ''
        rows = weights.get(prefix + _ROWS_KEY)
        if num_classes is None or rows is None:
            return
        old_names = _names((checkpoint.get('meta') or {}).get('dataset_meta'))
        new_names = _dataset_names(runner)
        if rows.shape[0] == num_classes:
            if old_names and new_names and old_names != new_names:
                runner.logger.warning(
                    'The checkpoint and the data set name their '
                    f'{num_classes} classes differently. '
                    + _both(old_names, new_names)
                    + 'If the classes are not the same ones in the same '
                    'order, the labels are wrong.'
                )
            return
        counts = (
            f'The checkpoint has {rows.shape[0]} class rows and the model has '
            f'num_classes={num_classes}. ' + _both(old_names, new_names)
        )
        if not _is_fine_tuning(runner):
            raise ValueError(
                counts + 'Set num_classes and metainfo.classes to the '
                "checkpoint's, or give the checkpoint that was trained on "
                'these classes; to start a training on new classes from it, '
                'use load_from without resume.'
            )
        weights.update(resize_class_rows(weights, num_classes, prefix))
        runner.logger.warning(
            counts + 'The class rows are re-initialised from the old ones '
            '(repeated or cut) and have to be trained.'
        )


def _model_class_rows(model: Any) -> int | None:
    if is_model_wrapper(model):
        model = model.module
    try:
        return model.get_parameter(_ROWS_KEY).shape[0]
    except AttributeError:
        return None


def _is_fine_tuning(runner: Runner) -> bool:
    """Whether a training is starting that is not a resumed one."""
    return isinstance(runner._train_loop, BaseLoop) and not runner._resume


def _dataset_names(runner: Runner) -> tuple[str, ...]:
    """Class names of the data set of the loop that is about to run."""
    for loop in (runner._train_loop, runner._test_loop, runner._val_loop):
        if isinstance(loop, BaseLoop):
            dataset = loop.dataloader.dataset
            return _names(getattr(dataset, 'metainfo', None))
    return ()


def _names(metainfo: MutableMapping[str, Any] | None) -> tuple[str, ...]:
    metainfo = metainfo or {}
    names = metainfo.get('classes', metainfo.get('CLASSES')) or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _both(old: Sequence[str], new: Sequence[str]) -> str:
    return f'Checkpoint: {_listed(old)}. Data set: {_listed(new)}. '


def _listed(names: Sequence[str]) -> str:
    if not names:
        return 'no class names'
    more = f', … ({len(names)})' if len(names) > _MAX_NAMES else ''
    return ', '.join(names[:_MAX_NAMES]) + more
