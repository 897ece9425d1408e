"""Weights of a checkpoint, and their classes, for a model."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from rfdetr_mm.checkpoints import (
    CLASS_ROW_WEIGHTS,
    COCO_CLASSES,
    OUR_SCHEMA,
    PUBLISHED_FILES,
    SHIPPED_FILES,
    cache_dir,
    check_licence,
    counts_of_mask,
    published_address,
    resize_class_rows,
    resize_keypoint_rows,
    resolve_weights,
    to_mmdet_checkpoint,
)
from rfdetr_mm.checkpoints.class_rows import default_class_names
from rfdetr_mm.checkpoints.keypoint_rows import mask_of_counts
from rfdetr_mm.engine.checkpoint_loaders import fetch_from_http
from rfdetr_mm.errors import InputError, naming
from rfdetr_mm.sizes.data_sets import named_classes

from .model_config import ModelConfig, fill_in_model

_ROWS_KEY = CLASS_ROW_WEIGHTS[0][0]


def locate_weights(name: str, accept_platform_model_license: bool) -> str:
    """Find weights by the name that the user gave, downloading published ones.

    Args:
        name: A published file name or ``rfdetr://NAME``: in the cache
            folder; that of a shipped file: in this package. Another bare
            name: in the cache folder or the current one. A path with a
            folder: as it is; if it ends in a published name and does not
            exist, the file is downloaded to it. A web address: downloaded to
            PyTorch's cache folder, once.
        accept_platform_model_license: Whether the user accepts PML-1.0.

    Returns:
        Path of the file.

    Raises:
        InputError: If there is no such file, the licence is not accepted, or
            a published file is broken.
        ConnectionError: If the download fails.
    """
    if name.startswith(('http://', 'https://')):
        address = published_address(name)
        if address is None:
            return str(fetch_from_http(name))
        name = address
    path = Path(name).expanduser()
    is_bare = not os.path.dirname(name)
    folder = None if is_bare or name.startswith('rfdetr://') else path.parent
    is_shipped = is_bare and name in SHIPPED_FILES
    is_known = is_shipped or path.name in PUBLISHED_FILES
    if name.startswith('rfdetr://') or is_known:
        if folder is not None and path.exists():
            check_licence(path.name, accept_platform_model_license)
            return str(path)
        found = resolve_weights(
            name if folder is None else path.name,
            accept_platform_model_license=accept_platform_model_license,
            folder=folder,
        )
        return str(found)
    places = [cache_dir() / name, path] if is_bare else [path]
    for place in places:
        if place.is_file():
            return str(place)
    raise FileNotFoundError(
        f'There is no checkpoint file {" and no ".join(map(str, places))}. '
        f'Published are: {", ".join(PUBLISHED_FILES)}.'
    )


class PretrainWeightsCompatibilityWarning(UserWarning):
    """Weights do not fit in full, so that a part must be trained."""


def build_detector(
    cfg: Config,
    config: ModelConfig,
    content: Mapping[str, Any] | None,
    path: str | None,
) -> tuple[nn.Module, list[str]]:
    """Build a detector and load weights into it.

    Args:
        cfg: The size's config; it gets the numbers of ``config``.
        config: The configuration of the model; its ``num_classes`` is set if
            it is None.
        content: A checkpoint of any origin; None for random weights.
        path: Path of the checkpoint, for messages.

    Returns:
        The detector in evaluation mode on its device, and the names of its
        classes: COCO's, if the checkpoint has none and there are 80.

    Raises:
        InputError: If the weights do not fit.
    """
    weights, names = None, ()
    if content is not None:
        weights, names = _weights_and_names(content, path)
        weights, names = _fit_classes(weights, names, config, path)
    if config.use_grouppose_keypoints:
        own = tuple(cfg.model.bbox_head.num_keypoints)
        weights = _fit_keypoints(weights, own, config, path)
    elif config.num_classes is None:
        config.num_classes = len(COCO_CLASSES)
    fill_in_model(cfg, config)
    with DefaultScope.overwrite_default_scope('mmdet'):
        detector = MODELS.build(cfg.model)
    if weights is not None:
        with naming(path):
            detector.load_state_dict(weights)
    names = names or default_class_names(config.num_classes)
    return detector.to(config.device).eval(), list(names)


def _weights_and_names(
    content: Mapping[str, Any], path: str | None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    with naming(path):
        checkpoint, _ = to_mmdet_checkpoint(content)
    weights = checkpoint.get('state_dict', checkpoint)
    if _ROWS_KEY not in weights:
        raise InputError(
            f'{path} holds no RF-DETR detector: there is no {_ROWS_KEY} '
            f'among its weights, which begin with {list(weights)[:3]}.'
        )
    meta = checkpoint.get('meta') or {}
    return weights, named_classes(meta.get('dataset_meta'))


def _fit_classes(
    weights: dict[str, Any],
    names: tuple[str, ...],
    config: ModelConfig,
    path: str | None,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Take the number of classes from weights, or change theirs."""
    num_rows = len(weights[_ROWS_KEY])
    if config.num_classes is None:
        config.num_classes = num_rows
    if config.num_classes == num_rows:
        return weights, names if len(names) == num_rows else ()
    warnings.warn(
        f'{path} has {num_rows} classes and num_classes='
        f'{config.num_classes}: the class rows are repeated or cut and must '
        'be trained. Leave num_classes out to predict with the file.',
        PretrainWeightsCompatibilityWarning,
        stacklevel=2,
    )
    return resize_class_rows(weights, config.num_classes), ()


def _fit_keypoints(
    weights: dict[str, Any] | None,
    own: tuple[int, ...],
    config: ModelConfig,
    path: str | None,
) -> dict[str, Any] | None:
    """Take the keypoints of the classes from weights, or change theirs.

    Args:
        weights: The weights of the file; None if there is no file.
        own: Keypoints of each class that the size has without weights.
        config: The configuration of the model, changed in place: the number
            of classes and of keypoints are set if they are None.
        path: Path of the file, for the warning.
    """
    schema = (weights or {}).get(OUR_SCHEMA)
    given = own if schema is None else counts_of_mask(schema)
    if config.num_keypoints_per_class is None:
        count = config.num_classes or len(given)
        config.num_keypoints_per_class = [
            given[i % len(given)] for i in range(count)
        ]
    wanted = tuple(config.num_keypoints_per_class)
    if config.num_classes is None:
        config.num_classes = len(wanted)
    if schema is None or given == wanted:
        return weights
    warnings.warn(
        f'{path} has {list(given)} keypoints and num_keypoints_per_class='
        f'{list(wanted)}: the keypoint rows are repeated or cut and must '
        'be trained.',
        PretrainWeightsCompatibilityWarning,
        stacklevel=2,
    )
    return resize_keypoint_rows(weights, mask_of_counts(wanted))
