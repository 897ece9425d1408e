"""RF-DETR as transformers saves it: ``config.json``, ``model.safetensors``.

transformers writes rfdetr's own names (its default) or those of its modules
(``save_original_format=False``), and reads both. Here both become rfdetr's
names, so that everything that takes rfdetr's files takes these as well.

Class rows differ. All of transformers' rows are classes, named by
``id2label``; rfdetr's files have a spare row besides. So a spare row is added
on reading and left out on writing: otherwise the last class would be lost.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rfdetr_mm.errors import InputError

from .class_rows import (
    COCO_CATEGORY_IDS,
    COCO_CLASSES,
    COCO_NUM_ROWS,
    SPARE_ROW_BIAS,
    scatter_rows,
    take_rows,
)

MODEL_TYPE = 'rf_detr'
CONFIG_FIELD = 'transformers_config'
"""Where :func:`from_transformers` leaves the content of ``config.json``."""

WEIGHTS_FILE, CONFIG_FILE = 'model.safetensors', 'config.json'

_RENAMES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r'^(model\.)+', ''),
        (r'^backbone\.backbone\.', 'backbone.0.encoder.encoder.'),
        (r'(layer\.\d+\.attention)\.q_proj\.', r'\1.attention.query.'),
        (r'(layer\.\d+\.attention)\.k_proj\.', r'\1.attention.key.'),
        (r'(layer\.\d+\.attention)\.v_proj\.', r'\1.attention.value.'),
        (r'(layer\.\d+\.attention)\.o_proj\.', r'\1.output.dense.'),
        (
            r'^backbone\.projector\.layer_norm',
            'backbone.0.projector.stages.0.1',
        ),
        (
            r'^backbone\.projector\.projector_layer\.bottlenecks\.(\d+)\.conv',
            r'backbone.0.projector.stages.0.0.m.\1.cv',
        ),
        (
            r'^backbone\.projector\.projector_layer\.conv',
            'backbone.0.projector.stages.0.0.cv',
        ),
        (r'^(backbone\.0\.projector\..*\.cv\d)\.norm\.', r'\1.bn.'),
        (r'^reference_point_embed\.', 'refpoint_embed.'),
        (r'^decoder\.layernorm\.', 'decoder.norm.'),
        (r'^(decoder\.layers\.\d+)\.self_attn_layer_norm', r'\1.norm1'),
        (r'^(decoder\.layers\.\d+)\.cross_attn_layer_norm', r'\1.norm2'),
        (r'^(decoder\.layers\.\d+)\.layer_norm', r'\1.norm3'),
        (r'^(decoder\.layers\.\d+)\.mlp\.fc', r'\1.linear'),
        (r'^(decoder\.layers\.\d+\.self_attn)\.o_proj', r'\1.out_proj'),
        (r'^(decoder|enc_out\w*)\.', r'transformer.\1.'),
        (
            r'^(blocks|spatial_features_proj|query_features_\w+)\.',
            r'segmentation_head.\1.',
        ),
        (r'^segmentation_bias$', 'segmentation_head.bias'),
        (r'(head\.blocks\.\d+)\.layernorm\.', r'\1.norm.'),
        (r'(head\.blocks\.\d+)\.depthwise_conv\.', r'\1.dwconv.'),
        (r'(head\.blocks\.\d+)\.pointwise_conv\.', r'\1.pwconv1.'),
        (r'(head\.query_features_block)\.norm\.', r'\1.norm_in.'),
        (r'(head\.query_features_block)\.mlp\.fc1\.', r'\1.layers.0.'),
        (r'(head\.query_features_block)\.mlp\.fc2\.', r'\1.layers.2.'),
    )
)
_PART_OF_ATTENTION = re.compile(r'^(.*self_attn)\.([qkv])_proj\.(\w+)$')
_OWN_NAME = re.compile(
    r'^(model\.)*(backbone\.backbone\.|reference_point_embed\.)'
)
_CLASS_ROWS = re.compile(
    r'^(class_embed|transformer\.enc_out_class_embed\.\d+)\.(weight|bias)$'
)
_NO_NAME = re.compile(r'LABEL_\d+')


def transformers_file(path: Path) -> Path:
    """Find the weights in a folder that ``save_pretrained`` has written.

    Args:
        path: A folder, or anything else.

    Returns:
        Its ``model.safetensors`` if it is such a folder, else ``path``.
    """
    weights = path / WEIGHTS_FILE
    return weights if weights.is_file() else path


def read_transformers_config(path: Path) -> dict[str, Any] | None:
    """Read the ``config.json`` beside a file of weights.

    Args:
        path: The file of weights.

    Returns:
        Its content; None if there is none, or one of another model.

    Raises:
        InputError: If it does not hold a JSON object.
    """
    file = path.with_name(CONFIG_FILE)
    if not file.is_file():
        return None
    try:
        config = json.loads(file.read_text(encoding='utf-8'))
    except ValueError as error:
        raise InputError(f'{file} is not JSON: {error}.') from error
    if not isinstance(config, dict):
        raise InputError(
            f'{file} holds a {type(config).__name__} instead of an object.'
        )
    return config if config.get('model_type') == MODEL_TYPE else None


def from_transformers(
    weights: Mapping[str, Tensor], config: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Give weights that transformers has saved the layout of rfdetr's files.

    Args:
        weights: Weights under rfdetr's names or transformers'.
        config: The content of ``config.json``; None if there is none.

    Returns:
        ``dict(model=…, args=dict(class_names=…), transformers_config=…)``
        for :func:`~.layouts.read_upstream_layout`; ``weights`` themselves if
        there is no config and the names are not transformers' own.

    Raises:
        InputError: If the names are transformers' own and there is no
            config, or if its class names do not fit the rows.
    """
    if config is None:
        if any(_OWN_NAME.match(key) for key in weights):
            raise InputError(
                'The weights have the names of transformers, and there is no '
                f'{CONFIG_FILE} of an {MODEL_TYPE!r} model beside them, which '
                'names the classes. Copy it from where the weights are.'
            )
        return dict(weights)
    model = _to_upstream_names(weights)
    names = None
    if 'class_embed.bias' in model:
        num_rows = len(model['class_embed.bias'])
        labels = _read_labels(config, num_rows)
        if not _is_coco(labels):
            _add_row(model, num_rows)
            names = [
                f'class_{i}' if _NO_NAME.fullmatch(label) else label
                for i, label in enumerate(labels)
            ]
    args = dict(
        class_names=names,
        segmentation_head='segmentation_head.bias' in model,
    )
    return {'model': model, 'args': args, CONFIG_FIELD: dict(config)}


def to_transformers(
    model: Mapping[str, Tensor], class_names: tuple[str, ...]
) -> dict[str, Tensor]:
    """Keep of rfdetr's weights what transformers loads.

    Args:
        model: Weights under rfdetr's names, of a model without keypoints.
        class_names: Names of the classes; COCO's have the rows of COCO's ids
            there.

    Returns:
        The weights, with one row for each class, in the order of the names.
        transformers reads these names.
    """
    rows = range(len(class_names))
    is_coco = len(model['class_embed.bias']) == COCO_NUM_ROWS
    if class_names == COCO_CLASSES and is_coco:
        rows = COCO_CATEGORY_IDS
    return {
        key: take_rows(value, rows, 0) if _CLASS_ROWS.match(key) else value
        for key, value in model.items()
        if value.numel()  # the keypoints' schema, empty here
    }


def _to_upstream_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if not any(_OWN_NAME.match(key) for key in weights):
        return dict(weights)
    renamed: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in weights.items():
        for pattern, replacement in _RENAMES:
            key = pattern.sub(replacement, key)
        part = _PART_OF_ATTENTION.match(key)
        if part:
            joined = f'{part[1]}.in_proj_{part[3]}'
            parts.setdefault(joined, {})[part[2]] = value
        else:
            renamed[key] = value
    for key, qkv in parts.items():
        if len(qkv) == 3:  # otherwise the key is reported as missing
            renamed[key] = torch.cat([qkv[name] for name in 'qkv'])
    return renamed


def _read_labels(config: Mapping[str, Any], num_rows: int) -> list[str]:
    """Names of the rows; transformers leaves out the names of two classes."""
    saved = config.get('id2label')
    if saved is None and num_rows == 2:
        saved = {'0': 'LABEL_0', '1': 'LABEL_1'}
    keys = [str(i) for i in range(num_rows)]
    if not isinstance(saved, Mapping) or set(saved) != set(keys):
        found = len(saved) if isinstance(saved, Mapping) else saved
        raise InputError(
            f'There are {num_rows} class rows, and id2label in {CONFIG_FILE} '
            f'must name the rows 0 to {num_rows - 1}; it has {found}.'
        )
    return [str(saved[key]) for key in keys]


def _is_coco(labels: list[str]) -> bool:
    """Whether the rows are COCO's ids, as in the published models."""
    if len(labels) != COCO_NUM_ROWS:
        return False
    return all(_NO_NAME.fullmatch(label) for label in labels) or all(
        labels[i] == name for i, name in zip(COCO_CATEGORY_IDS, COCO_CLASSES)
    )


def _add_row(model: dict[str, Tensor], num_rows: int) -> None:
    for key in [k for k in model if _CLASS_ROWS.match(k)]:
        fill = SPARE_ROW_BIAS if key.endswith('.bias') else 0.0
        if len(model[key]) == num_rows:  # others are reported as mis-shaped
            rows = list(range(num_rows))
            model[key] = scatter_rows(model[key], rows, num_rows + 1, 0, fill)
