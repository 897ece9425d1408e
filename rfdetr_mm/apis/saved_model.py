"""Which class a checkpoint belongs to, and what it says of its model."""

import ast
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rfdetr_mm.checkpoints import read_upstream_layout
from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.config_facts import size_of_tests

from .model_config import (
    ENCODER_CHANNELS,
    ModelConfig,
    make_model_config,
    read_saved_model,
)
from .variants import MODEL_NAME, VARIANTS, Variant

# What no training changes.
_FIXED = (
    'encoder',
    'segmentation_head',
    'patch_size',
    'hidden_dim',
    'dec_layers',
)

# Part of a file name to its class, the longer ones first. As upstream has
# it, "large" is the Large of 2026.
_PARTS_OF_NAMES = (
    ('seg-2xlarge', 'RFDETRSeg2XLarge'),
    ('seg-xxlarge', 'RFDETRSeg2XLarge'),
    ('seg-xlarge', 'RFDETRSegXLarge'),
    ('seg-large', 'RFDETRSegLarge'),
    ('seg-medium', 'RFDETRSegMedium'),
    ('seg-small', 'RFDETRSegSmall'),
    ('seg-nano', 'RFDETRSegNano'),
    ('seg-preview', 'RFDETRSegPreview'),
    ('2xlarge', 'RFDETR2XLarge'),
    ('xxlarge', 'RFDETR2XLarge'),
    ('xlarge', 'RFDETRXLarge'),
    ('large', 'RFDETRLarge'),
    ('medium', 'RFDETRMedium'),
    ('small', 'RFDETRSmall'),
    ('nano', 'RFDETRNano'),
    ('tiny', 'RFDETRTiny'),
    ('base', 'RFDETRBase'),
)
_WAY_OUT = (
    'Instantiate the class that it was trained with directly, such as '
    'RFDETRSmall(pretrain_weights={path!r}), with its resolution if that was '
    'not the default one.'
)


@dataclass
class SavedModel:
    """What a checkpoint says of its model.

    Args:
        variant: Its size.
        fields: Of :class:`ModelConfig`, as far as the file has them.
    """

    variant: Variant
    fields: dict[str, Any] = field(default_factory=dict)


def identify(path: str, content: Mapping[str, Any]) -> SavedModel:
    """Find out which model a checkpoint is of.

    Args:
        path: Of the file; its name decides if nothing in the file does.
        content: Of :func:`rfdetr_mm.checkpoints.read_checkpoint`: nothing
            in it is run, and only names and numbers are taken from it.

    Returns:
        The size and what else the file says.

    Raises:
        InputError: If there are no training arguments in a file of upstream,
            or its class cannot be inferred.
    """
    if read_upstream_layout(content) is None:
        return _identify_ours(path, content)
    args = content.get('args', content.get('hyper_parameters'))
    if args is None:
        raise InputError(
            f"{path} stores no training arguments ('args'), so neither the "
            'class nor its settings can be read from it. '
            + _WAY_OUT.format(path=path)
        )
    if not isinstance(args, Mapping):
        args = vars(args)
    variant = _upstream_variant(path, content, args)
    saved = content.get('model_config')
    fields = _fields_in(saved) if isinstance(saved, Mapping) else {}
    return SavedModel(variant, fields)


def _upstream_variant(
    path: str, content: Mapping[str, Any], args: Mapping[str, Any]
) -> Variant:
    name = content.get(MODEL_NAME)
    if isinstance(name, str) and name.strip() in VARIANTS:
        return VARIANTS[name.strip()]
    weights = str(args.get('pretrain_weights') or '').strip().lower()
    if weights in ('', 'none', 'null'):
        weights = os.path.basename(path).lower()
    variant = _variant_in(weights)
    if variant is None:
        raise InputError(
            f'The class of {path} cannot be inferred: its model_name is '
            f'{name!r}, its pretrain_weights {weights!r}. '
            + _WAY_OUT.format(path=path)
        )
    return variant


def _variant_in(name: str) -> Variant | None:
    name = name.replace('_', '-')
    for part, class_name in _PARTS_OF_NAMES:
        if part in name and 'keypoint' not in name:
            return VARIANTS[class_name]
    return None


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
    meta = content.get('meta') or {}
    cfg = literal_entries(meta.get('cfg', ''))
    model = cfg.get('model')
    saved = read_saved_model(model) if isinstance(model, Mapping) else {}
    saved.pop('num_classes', None)  # the weights have it
    resolution = _test_resolution(cfg)
    if resolution is not None:
        saved['resolution'] = resolution
    weights = content.get('state_dict', content)
    name = cfg.get(MODEL_NAME)
    if isinstance(name, str) and name in VARIANTS:
        return SavedModel(VARIANTS[name], saved)
    variant = _variant_of_weights(weights, saved)
    if variant is None:
        names = (str(meta.get('experiment_name', '')), Path(path).name)
        found = [_variant_in(name.lower()) for name in names]
        variant = next((v for v in found if v is not None), None)
    if variant is None:
        raise InputError(
            f'The class of {path} cannot be inferred: its weights are not '
            'those of one published size. ' + _WAY_OUT.format(path=path)
        )
    return SavedModel(variant, saved or _native_resolution(variant, weights))


def literal_entries(text: Any) -> dict[str, Any]:
    """Read the entries of a config's text that are plain data.

    A checkpoint holds its config as a Python program. It is not run: only
    numbers, texts, lists, tuples, dicts and ``dict(...)`` are understood.

    Args:
        text: As mmengine writes it.

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
) -> Variant | None:
    """The only size that weights, and numbers beside them, can be of."""
    try:
        numbers = {**saved, **numbers_of_weights(weights)}
    except (KeyError, AttributeError):
        return None
    configs = {
        variant: config
        for variant in VARIANTS.values()
        if all(
            getattr(config := make_model_config(variant, {}), name)
            == numbers[name]
            for name in _FIXED
        )
    }
    for name in ('num_windows', 'positional_encoding_size', 'num_queries'):
        # The latter two may have been changed: then they decide nothing.
        same = {
            variant: config
            for variant, config in configs.items()
            if numbers.get(name) == getattr(config, name)
        }
        configs = same or configs
    return next(iter(configs)) if len(configs) == 1 else None


def numbers_of_weights(weights: Mapping[str, Any]) -> dict[str, Any]:
    """What shapes of weights say of a model, under names of ModelConfig.

    Args:
        weights: Of a detector, under this package's names.

    Raises:
        KeyError: If they have no windowed backbone or no head of RF-DETR.
    """
    layers = [
        int(key.split('.')[3])
        for key in weights
        if key.startswith('bbox_head.decoder.layers.')
    ]
    pos_embed = weights['backbone.pos_embed']
    return dict(
        encoder={v: k for k, v in ENCODER_CHANNELS.items()}.get(
            pos_embed.shape[-1]
        ),
        segmentation_head=any('mask_branch.' in key for key in weights),
        patch_size=weights['backbone.patch_embed.weight'].shape[-1],
        hidden_dim=weights['bbox_head.query_embedding'].shape[-1],
        dec_layers=1 + max(layers, default=-1),
        positional_encoding_size=math.isqrt(pos_embed.shape[1] - 1),
        num_queries=weights['bbox_head.query_embedding'].shape[1],
    )


def _native_resolution(
    variant: Variant, weights: Mapping[str, Any]
) -> dict[str, Any]:
    """The resolution that goes with another position table."""
    own: ModelConfig = make_model_config(variant, {})
    side = numbers_of_weights(weights)['positional_encoding_size']
    if side == own.positional_encoding_size:
        return {}
    return dict(resolution=side * own.patch_size)
