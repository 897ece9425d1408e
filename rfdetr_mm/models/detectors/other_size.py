"""Saying which size a checkpoint is of that does not fit a model."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.identify import FIXED, sizes_of_numbers, task_of_weights
from rfdetr_mm_light.sizes import SEGMENTATION, SIZES, Size

from ..backbones.windowed_dinov2 import WindowedDINOv2

ENCODER = 'dinov2_windowed_'
"""What upstream's names of encoders begin with; the rest is our ``arch``."""

_ENCODERS = {size.encoder for size in SIZES.values()}
ENCODER_CHANNELS: dict[str, int] = {
    ENCODER + arch: settings['embed_dims']
    for arch, settings in WindowedDINOv2.arch_settings.items()
    if ENCODER + arch in _ENCODERS
}
"""Upstream's name of an encoder to its width."""


def numbers_of_weights(weights: Mapping[str, Any]) -> dict[str, Any]:
    """What shapes of weights say of a model, under names of ModelConfig.

    Args:
        weights: The weights of a detector, under this package's names.

    Returns:
        The numbers that decide on the size, and ``segmentation_head``.

    Raises:
        KeyError: If they have no windowed backbone or no head of RF-DETR, or
            these have shapes that no such model has.
    """
    try:
        return _numbers(weights)
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise KeyError(f'weights of RF-DETR: {error}') from error


def _numbers(weights: Mapping[str, Any]) -> dict[str, Any]:
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
        segmentation_head=task_of_weights(weights) is SEGMENTATION,
        patch_size=weights['backbone.patch_embed.weight'].shape[-1],
        hidden_dim=weights['bbox_head.query_embedding'].shape[-1],
        dec_layers=1 + max(layers, default=-1),
        positional_encoding_size=math.isqrt(pos_embed.shape[1] - 1),
        num_queries=weights['bbox_head.query_embedding'].shape[1],
    )


def explain_misfit(
    error: InputError,
    given: Mapping[str, Any] | None,
    wanted: Mapping[str, Any] | None,
) -> InputError:
    """Replace a list of keys by the two sizes, where these differ.

    Args:
        error: Why a checkpoint was refused.
        given: :func:`size_of_weights` of the checkpoint.
        wanted: The same of the model.

    Returns:
        An error whose message names the sizes, and whose ``details`` are the
        message of ``error``; or ``error`` itself if the sizes do not explain
        it.
    """
    if given is None or wanted is None or not given['sizes']:
        return error
    names = ('task', *FIXED)
    if all(given[name] == wanted[name] for name in names):
        return error
    ways = [_way_to(size) for size in given['sizes']]
    new = InputError(
        f'this file is {_described(given)}, the model is '
        f'{_described(wanted)}; nothing was loaded. Take the config of '
        f"{' or '.join(ways)}, or weights of the model's own size. -v lists "
        'what differs.'
    )
    new.details = str(error)
    return new


def size_of_weights(
    state_dict: Mapping[str, Tensor], prefix: str = ''
) -> dict[str, Any] | None:
    """Say what the shapes of weights tell of a model.

    Args:
        state_dict: The weights of a detector.
        prefix: What their names begin with.

    Returns:
        The numbers of :func:`numbers_of_weights`, and ``task``, ``sizes``
        (several where the numbers do not decide), ``image_px`` and
        ``num_classes``; None if they are no weights of an RF-DETR detector.
    """
    weights = {
        key.removeprefix(prefix): value
        for key, value in state_dict.items()
        if key.startswith(prefix)
    }
    try:
        numbers = numbers_of_weights(weights)
        num_classes = len(weights['bbox_head.cls_branch.weight'])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return None
    task = task_of_weights(weights)
    sizes = sizes_of_numbers(task, numbers)
    table = numbers['positional_encoding_size']
    image_px = table * numbers['patch_size']
    for size in sizes:
        # Base has a table of 37 patches, and 40 at its own size.
        if table == size.positional_encoding_size:
            image_px = size.image_px
    return dict(
        numbers,
        task=task,
        sizes=sizes,
        image_px=image_px,
        num_classes=num_classes,
    )


def _way_to(size: Size) -> str:
    return (
        f'{size.short_name} ({size.config}; --model {size.short_name} of '
        f'rfdetr-mm; {size.class_name} in Python)'
    )


def _described(found: Mapping[str, Any]) -> str:
    names = [f'rfdetr-{size.short_name}' for size in found['sizes']]
    name = ' or '.join(names) or 'none of the sizes'
    classes = 'class' if found['num_classes'] == 1 else 'classes'
    more = f'{found["image_px"]} px, {found["num_classes"]} {classes}'
    if not names:
        more += (
            f', patches of {found["patch_size"]} px, width '
            f'{found["hidden_dim"]}, decoder layers: {found["dec_layers"]}'
            + (', with masks' if found['segmentation_head'] else '')
        )
    return f'{name} ({more})'
