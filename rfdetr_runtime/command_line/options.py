"""The exported file that the options of a subcommand name."""

import argparse

from ..exported_model import ExportedModel, load


def load_file(
    args: argparse.Namespace, side_by_side: int = 1
) -> ExportedModel:
    """Load the file of ``--weights``.

    Args:
        args: The parsed options of a subcommand; ``batch_size`` becomes that
            of a file that takes only one, unless another one was given.
        side_by_side: See :func:`~rfdetr_runtime.load`.

    Returns:
        The model.

    Raises:
        InputError: If the file cannot be used, or was exported for another
            image size than ``--resolution`` or another ``--batch-size``.
    """
    model = load(
        args.weights,
        device=args.device,
        precision=args.precision,
        side_by_side=side_by_side,
    )
    side = args.resolution
    model.check(None if side is None else (side, side), None)
    if args.batch_size in (None, 1) and model.batch_size is not None:
        args.batch_size = model.batch_size
    model.check(None, args.batch_size)
    return model
