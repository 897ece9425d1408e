"""What is wrong is said before weights are downloaded and models built."""

import argparse
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rfdetr_mm import apis
from rfdetr_mm.apis.devices import find_device
from rfdetr_mm.apis.export_request import make_request
from rfdetr_mm.apis.recipe import fill_in_data
from rfdetr_mm.apis.report import check_report
from rfdetr_mm.apis.train_config import TrainConfig, make_train_config
from rfdetr_mm.apis.training import find_data
from rfdetr_mm.checkpoints import PUBLISHED_FILES, cache_dir
from rfdetr_mm.datasets.layouts import detect_layout
from rfdetr_mm.engine.config_options import check_options
from rfdetr_mm.engine.running import check_work_dir
from rfdetr_mm.sizes.identify import find_size
from rfdetr_mm.sizes.shipped import read_config_of
from rfdetr_mm_light.files import check_writable

from .options import MODEL_FIELDS, given


def check_training(
    args: argparse.Namespace, options: Mapping[str, Any]
) -> None:
    """Check a training: its arguments, data set, device and disk, in turn.

    The annotations are read only if weights would be downloaded. Otherwise
    the training itself reads them as early, and reading those of a large
    data set twice takes long.

    Args:
        args: Parsed options of the command line.
        options: The options among them that are arguments of ``train()``.

    Raises:
        InputError: At the first one that cannot be used.
    """
    config = _train_config(args, options)
    _check_entries(args, config)
    _check_layout(config, ('train', 'val'))
    if args.model is not None and _downloads(args, options):
        cfg = read_config_of(find_size(args.model))
        if config.batch_size == 'auto':
            config.batch_size = 1
        fill_in_data(cfg, config)
        find_data(cfg)
    _check_device(args)
    check_work_dir(config.output_dir)


def check_evaluation(
    args: argparse.Namespace, options: Mapping[str, Any]
) -> None:
    """Check an evaluation: its arguments, data set, device and disk, in turn.

    Args:
        args: Parsed options of the command line.
        options: The options among them that are arguments of ``evaluate()``.

    Raises:
        InputError: At the first one that cannot be used.
    """
    ours = {k: v for k, v in options.items() if k not in ('report', 'against')}
    config = _train_config(args, ours)
    _check_entries(args, config)
    # A data set without a test split is tested on its validation split.
    _check_layout(config, (args.split,))
    _check_device(args)
    if args.output_dir is not None:
        check_work_dir(args.output_dir)
    if args.json is not None:
        check_writable(args.json.parent)
    if args.report is not None:
        check_report(args.report, args.against)


def check_export(args: argparse.Namespace, options: Mapping[str, Any]) -> None:
    """Check an export: its arguments, device and disk, in turn.

    Args:
        args: Parsed options of the command line.
        options: The options among them that are arguments of ``export()``.

    Raises:
        InputError: At the first one that cannot be used.
        FileNotFoundError: If there are no images to calibrate with.
    """
    if args.model is not None:  # of other weights the size is not known
        model_class = getattr(apis, find_size(args.model).class_name)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # export() gives them again
            fields = given(args, MODEL_FIELDS)
            make_request(model_class.get_model_config(**fields), **options)
    _check_device(args)
    check_writable(args.output_dir)


def _train_config(
    args: argparse.Namespace, options: Mapping[str, Any]
) -> TrainConfig:
    given = {**options, 'dataset_dir': args.dataset_dir}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # train() itself gives them again
        return make_train_config(given, f'rfdetr-mm {args.command}')


def _check_entries(args: argparse.Namespace, config: TrainConfig) -> None:
    """Find keys that nobody reads; of other weights the size is not known."""
    if config.cfg_options and args.model is not None:
        cfg = read_config_of(find_size(args.model))
        check_options(cfg, config.cfg_options)


def _check_layout(config: TrainConfig, splits: tuple[str, ...]) -> None:
    detect_layout(config.dataset_dir, config.dataset_file, splits=splits)


def _check_device(args: argparse.Namespace) -> None:
    if args.device is not None:
        find_device(args.device)


def _downloads(args: argparse.Namespace, options: Mapping[str, Any]) -> bool:
    """Whether building the model would download published weights."""
    if args.no_weights or 'resume' in options:
        return False
    name = args.weights or find_size(args.model).weights
    is_published = Path(name).name in PUBLISHED_FILES
    return is_published and not (cache_dir() / Path(name).name).exists()
