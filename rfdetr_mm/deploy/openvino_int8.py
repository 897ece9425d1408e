"""Int8 OpenVINO files, by NNCF."""

import contextlib
import io
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rfdetr_mm.errors import InputError

from .missing_package import require_package

if TYPE_CHECKING:
    import openvino

QUANTIZED_PARTS = ('/backbone/', '/neck/')
PRODUCTS = ('MatMul', 'Convolution', 'ScaledDotProductAttention')
INSTALL = "pip install 'rfdetr_mm[openvino-export]'"


def quantize_openvino(
    model: 'openvino.Model',
    name: str | Path,
    calibration: Iterable[np.ndarray],
) -> 'openvino.Model':
    """Let the products of backbone and neck compute in int8.

    Args:
        model: A float32 model, converted from a file of ours; changed.
        name: What messages call it.
        calibration: Normalised images from which ranges are learnt, shape
            (bs, channels, h_px, w_px) each.

    Returns:
        The int8 model.

    Raises:
        InputError: If nncf is not installed, or the images are of another
            shape than the model's.
    """
    require_package('nncf', 'int8 for OpenVINO', INSTALL)
    images = list(calibration)
    _check_shapes(model, name, images)
    import nncf

    logging.getLogger('nncf').setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
        return nncf.quantize(
            model,
            nncf.Dataset(images),
            subset_size=len(images),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(names=float_products(model)),
        )


def float_products(model: 'openvino.Model') -> list[str]:
    """Names of the products that stay in floating point: those of the head.

    It picks and places the boxes by small differences.

    Args:
        model: A model converted from a file of ours, whose nodes have the
            names of their modules.
    """
    return [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() in PRODUCTS
        and not node.get_friendly_name().startswith(QUANTIZED_PARTS)
    ]


def _check_shapes(
    model: 'openvino.Model', name: str | Path, images: list[np.ndarray]
) -> None:
    if not images:
        raise InputError(f'there is no image to calibrate {name} with')
    wanted = [
        side.get_length() if side.is_static else None
        for side in model.input(0).partial_shape
    ]
    for batch in images:
        if len(batch.shape) != len(wanted) or any(
            side not in (None, given)
            for side, given in zip(wanted, batch.shape)
        ):
            raise InputError(
                f'images for calibration are of shape {batch.shape}, {name} '
                f'takes {tuple(wanted)}'
            )
