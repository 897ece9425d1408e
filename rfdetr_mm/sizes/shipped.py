"""Configs that belong to the package, installed or in a clone."""

import copy
import functools
from pathlib import Path

from mmengine.config import Config

from rfdetr_mm_light.shipped_files import PACKAGE, find_shipped
from rfdetr_mm_light.sizes import Size

__all__ = ['MODEL_NAME', 'PACKAGE', 'read_config_of', 'read_shipped']

MODEL_NAME = 'model_name'
"""Entry of a config and of rfdetr's files: the name of the model's class."""


def read_shipped(name: str) -> Config:
    """Read a config of an installed package or of a clone.

    Args:
        name: Its path below ``configs``.

    Returns:
        The config, which the caller may change.

    Raises:
        FileNotFoundError: If there is no such config, because it was never
            written or the package was copied without its configs.
    """
    return copy.deepcopy(_read(find_shipped(f'configs/{name}')))


@functools.cache
def _read(path: Path) -> Config:
    return Config.fromfile(path)


def read_config_of(size: Size) -> Config:
    """Read the config of a size and write the name of its class into it.

    Args:
        size: The size.

    Returns:
        The config, see :func:`read_shipped`.
    """
    cfg = read_shipped(size.config)
    cfg[MODEL_NAME] = size.class_name
    return cfg
