"""Configs that belong to the package, installed or in a clone."""

from pathlib import Path

from mmengine.config import Config

PACKAGE = Path(__file__).resolve().parents[1]


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
    for root in (PACKAGE / '.mim', PACKAGE.parent):
        path = root / 'configs' / name
        if path.is_file():
            return Config.fromfile(path)
    raise FileNotFoundError(
        f'configs/{name} is neither in {PACKAGE / ".mim"} nor in '
        f'{PACKAGE.parent}. Install rfdetr_mm by pip, or in a clone run '
        'python setup.py link_mim.'
    )
