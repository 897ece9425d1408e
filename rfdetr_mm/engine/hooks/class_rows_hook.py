"""What happens when a checkpoint has other classes than the model."""

from collections.abc import Sequence
from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch import Tensor

from rfdetr_mm.checkpoints import (
    CLASS_ROW_WEIGHTS,
    OUR_SCHEMA,
    counts_of_mask,
    reset_precision,
    resize_keypoint_rows,
    take_class_rows,
    take_keypoint_rows,
)
from rfdetr_mm.datasets.joined import check_same_classes, joined_parts
from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.data_sets import named_classes

_ROWS_KEY = CLASS_ROW_WEIGHTS[1][0]
_MAX_NAMES = 10


@HOOKS.register_module()
class ClassRowsHook(Hook):
    """Compare the classes of a loaded checkpoint with the model's.

    * Other number of classes: training from ``load_from`` re-initialises the
      class rows (repeated or cut, as upstream does) and warns once.
    * The same names in another order: training from ``load_from`` puts the
      rows in the data set's order, which loses nothing, and warns once.
    * As many other names: a warning. It is not an error, since a class may
      have been renamed.

    In testing and resuming the first two are errors: rows of other classes
    give plausible nonsense, and so do the optimiser's averages of them.

    So it is with the numbers of keypoints of the classes. Besides, a training
    from ``load_from`` learns anew how sure a model is of its keypoints.

    Models without our class rows and checkpoints without any (a backbone's)
    are left alone. The hook must come before EMAHook, which copies the
    checkpoint's weights, hence its priority.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Refuse data sets whose labels or keypoints mean something else.

        Args:
            runner: The runner that trains.

        Raises:
            InputError: If classes, or their order, differ between parts, or
                the keypoints of the classes are not the model's.
        """
        _check_data(runner, 'train_dataloader')

    def before_val(self, runner: Runner) -> None:
        """Refuse data sets whose labels or keypoints mean something else.

        Args:
            runner: The runner that validates.

        Raises:
            InputError: If classes, or their order, differ between parts, or
                the keypoints of the classes are not the model's.
        """
        _check_data(runner, 'val_dataloader')

    def before_test(self, runner: Runner) -> None:
        """Refuse data sets whose labels or keypoints mean something else.

        Args:
            runner: The runner that tests.

        Raises:
            InputError: If classes, or their order, differ between parts, or
                the keypoints of the classes are not the model's.
        """
        _check_data(runner, 'test_dataloader')

    def after_load_checkpoint(
        self, runner: Runner, checkpoint: dict[str, Any]
    ) -> None:
        """Check, and in training fit, the class rows.

        Args:
            runner: The runner that loads.
            checkpoint: The loaded checkpoint; its weights are changed in
                place if they are fitted.

        Raises:
            InputError: If the number or the order of the classes differs in
                testing or resuming.
        """
        weights = checkpoint.get('state_dict', checkpoint)
        prefix = 'module.' if f'module.{_ROWS_KEY}' in weights else ''
        names = named_classes(
            (checkpoint.get('meta') or {}).get('dataset_meta')
        )
        _fit_classes(runner, weights, prefix, names)
        _fit_keypoints(runner, weights, prefix)


def _fit_classes(
    runner: Runner,
    weights: dict[str, Any],
    prefix: str,
    old: Sequence[str],
) -> None:
    """Check the class rows, and fit them in place."""
    model_rows = _model_tensor(runner.model, _ROWS_KEY)
    old_rows = weights.get(prefix + _ROWS_KEY)
    if model_rows is None or old_rows is None:
        return
    num_classes, num_rows = len(model_rows), len(old_rows)
    new = _dataset_names(runner)
    if num_rows != num_classes:
        rows = [i % num_rows for i in range(num_classes)]
        finding = (
            f'The checkpoint has {num_rows} class rows and the model has '
            f'num_classes={num_classes}. '
        )
        done = (
            'The class rows are re-initialised from the old ones '
            '(repeated or cut) and must be trained.'
        )
    elif old != new and _is_reordered(old, new, num_rows):
        rows = [old.index(name) for name in new]
        finding = (
            'The checkpoint and the data set have the same '
            f'{num_classes} classes in different orders'
            f'{_first_difference(old, new)}. '
        )
        done = "The class rows are put in the data set's order."
    else:
        if old and new and old != new:
            runner.logger.warning(_other_names(old, new))
        return
    finding += _both(old, new)
    if not _is_fine_tuning(runner):
        raise InputError(finding + _WAY_OUT)
    weights.update(take_class_rows(weights, rows, prefix))
    if prefix + OUR_SCHEMA in weights:
        weights.update(take_keypoint_rows(weights, rows, prefix))
    runner.logger.warning(finding + done)


def _fit_keypoints(
    runner: Runner, weights: dict[str, Any], prefix: str
) -> None:
    """Check the keypoint rows, and fit them in place."""
    wanted = _model_tensor(runner.model, OUR_SCHEMA)
    given = weights.get(prefix + OUR_SCHEMA)
    if wanted is None or given is None:
        return
    old, new = counts_of_mask(given), counts_of_mask(wanted)
    if old != new:
        finding = (
            f'The classes of the checkpoint have {list(old)} keypoints and '
            f'those of the model num_keypoints={list(new)}. '
        )
        if not _is_fine_tuning(runner):
            raise InputError(finding + _KEYPOINTS_WAY_OUT)
        weights.update(resize_keypoint_rows(weights, wanted, prefix))
        runner.logger.warning(
            f'{finding}The keypoint rows are re-initialised from the old ones '
            '(repeated or cut) and must be trained.'
        )
    if _is_fine_tuning(runner):
        weights.update(reset_precision(weights, prefix))


_WAY_OUT = (
    "Set num_classes and metainfo.classes to the checkpoint's (the config "
    'that its training wrote into its work dir has them), or give the '
    'checkpoint that was trained on these classes; to start a training on '
    'new classes from it, use load_from without resume.'
)


_KEYPOINTS_WAY_OUT = (
    "Set model.bbox_head.num_keypoints to the checkpoint's, or give the "
    'checkpoint that was trained on these keypoints; to start a training on '
    'other keypoints from it, use load_from without resume.'
)


def _check_data(runner: Runner, where: str) -> None:
    dataset = getattr(getattr(runner, where), 'dataset', None)
    parts = list(joined_parts(dataset))
    if len(parts) > 1:
        check_same_classes(parts, where)
    schema = _model_tensor(runner.model, OUR_SCHEMA)
    counts = (getattr(dataset, 'metainfo', None) or {}).get('num_keypoints')
    if schema is None or counts is None:
        return
    if tuple(counts) != counts_of_mask(schema):
        raise InputError(
            f'The classes in {where} have {list(counts)} keypoints and those '
            f'of the model num_keypoints={list(counts_of_mask(schema))}. Set '
            "model.bbox_head.num_keypoints to the data set's."
        )


def _model_tensor(model: Any, key: str) -> Tensor | None:
    """A parameter or buffer of a model without its wrappers, if it has it."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    part, _, name = key.rpartition('.')
    try:
        return getattr(model.get_submodule(part), name)
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
            parts = list(joined_parts(dataset))
            check_same_classes(parts, 'the data loader')
            return parts[0][1]
    return ()


def _is_reordered(
    old: Sequence[str], new: Sequence[str], num_rows: int
) -> bool:
    """Whether each row has one name, and both sides have all names."""
    return len(old) == len(new) == len(set(old)) == num_rows and (
        set(old) == set(new)
    )


def _other_names(old: Sequence[str], new: Sequence[str]) -> str:
    return (
        'The checkpoint and the data set name their '
        f'{len(new)} classes differently{_first_difference(old, new)}. '
        f'{_both(old, new)}If the classes are not the same ones in the same '
        'order, the labels are wrong.'
    )


def _first_difference(old: Sequence[str], new: Sequence[str]) -> str:
    pairs = enumerate(zip(old, new))
    return next(
        (f' (label {i} is {a}, {b})' for i, (a, b) in pairs if a != b), ''
    )


def _both(old: Sequence[str], new: Sequence[str]) -> str:
    return f'Checkpoint: {_listed(old)}. Data set: {_listed(new)}. '


def _listed(names: Sequence[str]) -> str:
    if not names:
        return 'no class names'
    more = f', … ({len(names)})' if len(names) > _MAX_NAMES else ''
    return ', '.join(names[:_MAX_NAMES]) + more
