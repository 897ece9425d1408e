"""Which class a checkpoint belongs to, and what it says of its model."""

import ast
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from rfdetr_mm.checkpoints import read_upstream_layout
from rfdetr_mm.errors import InputError
from rfdetr_mm.models.detectors.other_size import (
    ENCODER_CHANNELS,
    numbers_of_weights,
)
from rfdetr_mm.sizes.config_facts import size_of_tests
from rfdetr_mm.sizes.identify import (
    size_in_file_name,
    sizes_of_numbers,
    task_of_weights,
)
from rfdetr_mm.sizes.shipped import MODEL_NAME
from rfdetr_mm_light.sizes import SIZES, Size

from .model_config import ModelConfig, read_saved_model

_WAY_OUT = (
    'Instantiate the class that it was trained with directly, such as '
    'RFDETRSmall(pretrain_weights={path!r}), with its resolution if that was '
    'not the default one.'
)


@dataclass
class SavedModel:
    """What a checkpoint says of its model.

    Args:
        variant: The size of the model.
        fields: The fields of :class:`ModelConfig` that the file has.
    """

    variant: Size
    fields: dict[str, Any] = field(default_factory=dict)


def identify(path: str, content: Mapping[str, Any]) -> SavedModel:
    """Find out which model a checkpoint is of.

    Args:
        path: The file; its name decides if nothing in the file does.
        content: What :func:`rfdetr_mm.checkpoints.read_checkpoint` gave:
            nothing in it is run, and only names and numbers are taken from
            it.

    Returns:
        The size and what else the file says.

    Raises:
        InputError: If there are no training arguments in a file of upstream,
            or its class cannot be inferred.
    """
    if read_upstream_layout(content) is None:
        return _identify_ours(path, content)
    args = content.get('args', content.get('hyper_parameters'))
    if not isinstance(args, Mapping):
        args = getattr(args, '__dict__', None)
    if args is None:
        raise InputError(
            f"{path} stores no training arguments ('args'), so neither the "
            'class nor its settings can be read from it. '
            + _WAY_OUT.format(path=path)
        )
    variant = _upstream_variant(path, content, args)
    saved = content.get('model_config')
    fields = _fields_in(saved) if isinstance(saved, Mapping) else {}
    return SavedModel(variant, fields)


def _upstream_variant(
    path: str, content: Mapping[str, Any], args: Mapping[str, Any]
) -> Size:
    name = content.get(MODEL_NAME)
    if isinstance(name, str) and name.strip() in SIZES:
        return SIZES[name.strip()]
    weights = args.get('pretrain_weights')
    weights = weights.strip().lower() if isinstance(weights, str) else ''
    if weights in ('', 'none', 'null'):
        weights = os.path.basename(path).lower()
    variant = size_in_file_name(weights)
    if variant is None:
        raise InputError(
            f'The class of {path} cannot be inferred: its model_name is '
            f'{name!r}, its pretrain_weights {weights!r}. '
            + _WAY_OUT.format(path=path)
        )
    return variant


def _fields_in(saved: Mapping[str, Any]) -> dict[str, Any]:
    """What upstream's file says of a model beside the weights."""
    names = {f.name for f in fields(ModelConfig)} - {'num_classes'}
    found = {
        name: value
        for name, value in saved.items()
        if name in names and type(value) is int
    }
    if saved.get('encoder') in ENCODER_CHANNELS:
        found['encoder'] = saved['encoder']
    return found


def _identify_ours(path: str, content: Mapping[str, Any]) -> SavedModel:
    weights = weights_of(path, content)
    meta = content.get('meta')
    if not isinstance(meta, Mapping):
        meta = {}
    cfg = literal_entries(meta.get('cfg', ''))
    model = cfg.get('model')
    saved = read_saved_model(model) if isinstance(model, Mapping) else {}
    saved.pop('num_classes', None)  # the weights have it
    resolution = _test_resolution(cfg)
    if resolution is not None:
        saved['resolution'] = resolution
    name = cfg.get(MODEL_NAME)
    if isinstance(name, str) and name in SIZES:
        return SavedModel(SIZES[name], saved)
    variant = (
        _variant_of_weights(weights, saved)
        or size_in_file_name(str(meta.get('experiment_name', '')))
        or size_in_file_name(Path(path).name)
    )
    if variant is None:
        raise InputError(
            f'The class of {path} cannot be inferred: its weights are not '
            'those of one published size. ' + _WAY_OUT.format(path=path)
        )
    return SavedModel(variant, saved or _native_resolution(variant, weights))


def weights_of(path: str, content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Give the weights of one of our checkpoints.

    Args:
        path: The file, for the message.
        content: What is in it: weights, or weights and their meta data.

    Returns:
        Name to tensor.

    Raises:
        InputError: If it holds anything else.
    """
    weights = content.get('state_dict', content)
    found = dict(weights) if isinstance(weights, Mapping) else {}
    odd = [
        f'{name!r:.60} ({type(value).__name__})'
        for name, value in found.items()
        if not (isinstance(name, str) and isinstance(value, Tensor))
    ]
    if odd or not found:
        what = odd[0] if odd else f'none ({type(weights).__name__})'
        raise InputError(
            f'{path} holds no weights: names with a tensor each are needed, '
            f'but it has {what}. Save it with torch.save({{"state_dict": '
            'model.state_dict()}, path).'
        )
    return found


def literal_entries(text: Any) -> dict[str, Any]:
    """Read the entries of a config's text that are plain data.

    A checkpoint holds its config as a Python program. It is not run: only
    numbers, texts, lists, tuples, dicts and ``dict(...)`` are understood.

    Args:
        text: The text of a config as mmengine writes it.

    Returns:
        Name to value; other entries are left out.
    """
    try:
        lines = ast.parse(text).body if isinstance(text, str) else []
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    entries = {}
    for line in lines:
        if isinstance(line, ast.Assign) and len(line.targets) == 1:
            target = line.targets[0]
            try:
                entries[target.id] = _literal(line.value)
            except (ValueError, AttributeError, TypeError, RecursionError):
                continue
    return entries


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict':
            raise ValueError('a call')
        return {item.arg: _literal(item.value) for item in node.keywords}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        return {
            ast.literal_eval(key): _literal(value)
            for key, value in zip(node.keys, node.values)
        }
    return ast.literal_eval(node)


def _test_resolution(cfg: Mapping[str, Any]) -> int | None:
    """The side of the square that a saved config tests on."""
    place = size_of_tests(cfg)
    if place is None or place.size_hw[0] != place.size_hw[1]:
        return None
    side = place.size_hw[0]
    return side if isinstance(side, int) else None


def _variant_of_weights(
    weights: Mapping[str, Any], saved: Mapping[str, Any]
) -> Size | None:
    """The only size that weights, and numbers beside them, can be of."""
    try:
        numbers = {**saved, **numbers_of_weights(weights)}
    except (KeyError, AttributeError):
        return None
    found = sizes_of_numbers(task_of_weights(weights), numbers)
    return found[0] if len(found) == 1 else None


def _native_resolution(
    variant: Size, weights: Mapping[str, Any]
) -> dict[str, Any]:
    """The resolution that goes with another position table."""
    try:
        side = numbers_of_weights(weights)['positional_encoding_size']
    except KeyError:
        return {}
    if side == variant.positional_encoding_size:
        return {}
    return dict(resolution=side * variant.patch_size)
