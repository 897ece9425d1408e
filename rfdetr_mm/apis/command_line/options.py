"""The model that the options of a subcommand choose."""

import argparse
import os
from typing import Any

from rfdetr_mm import apis
from rfdetr_mm.apis.scale import CheckpointLoader
from rfdetr_mm.apis.weights import locate_weights
from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.identify import find_size
from rfdetr_runtime.scale.places import absolute

MODEL_FIELDS = ('device', 'resolution')
"""Options of the model that have the names of fields of ``ModelConfig``."""


def load_model(
    args: argparse.Namespace, published: bool = True
) -> 'apis.RFDETR':
    """Build the model that the options name.

    Args:
        args: Parsed options of :func:`add_model_options`.
        published: Whether a size without ``--weights`` takes the published
            ones, not random ones.

    Raises:
        InputError: If there is no such size, the weights do not fit, or
            published ones cannot be downloaded.
    """
    try:
        return _load(args, published)
    except ConnectionError as error:
        way_out = '--weights FILE takes a checkpoint that you have.'
        if args.command == 'train':
            way_out += ' --no-weights starts from random weights.'
        raise InputError(f'{error} {way_out}') from error


def _load(args: argparse.Namespace, published: bool) -> 'apis.RFDETR':
    fields = given(args, MODEL_FIELDS)
    if args.accept_platform_model_license:
        fields['accept_platform_model_license'] = True
    if args.model is not None:
        if args.weights is not None:
            fields['pretrain_weights'] = args.weights
        elif not published:
            fields['pretrain_weights'] = None
        return getattr(apis, find_size(args.model).class_name)(**fields)
    path = locate_weights(args.weights, args.accept_platform_model_license)
    return apis.from_checkpoint(path, **fields)


def given(args: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    """The options among ``names`` that were given."""
    values = {name: getattr(args, name) for name in names}
    return {
        k: v for k, v in values.items() if v is not None and v is not False
    }


def checkpoint_loader(args: argparse.Namespace) -> CheckpointLoader:
    """The checkpoint that the options name, as workers load it.

    Args:
        args: Parsed options of :func:`add_model_options`.

    Raises:
        InputError: If there is no such size.
    """
    weights = args.weights
    if weights is None:
        weights = find_size(args.model).weights
    elif '://' not in weights and os.path.exists(weights):
        weights = absolute(weights)
    return CheckpointLoader(
        weights,
        size=args.model,
        device=args.device,
        resolution=args.resolution,
        accept_platform_model_license=args.accept_platform_model_license,
    )
