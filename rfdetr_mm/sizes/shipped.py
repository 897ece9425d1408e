"""Configs that belong to the package, installed or in a clone."""

from mmengine.config import Config

from rfdetr_mm_light.shipped_files import PACKAGE, find_shipped

__all__ = ['PACKAGE', 'read_shipped']


def read_shipped(name: str) -> Config:
    """Read a config of an installed package or of a clone.

    Args:
        name: Its path below ``configs``.

    Returns:
        The config.

    Raises:
        FileNotFoundError: If there is no such config, because it was never
            written or the package was copied without its configs.
    """
    return Config.fromfile(find_shipped(f'configs/{name}'))
