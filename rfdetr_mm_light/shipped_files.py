"""Where the configs, tools and demos that belong to the package are."""

from pathlib import Path

SHIPPED = ('benchmarks', 'configs', 'demo', 'tools', 'model-index.yml')
"""What the folder ``.mim`` of the package has; ``setup.py`` reads it here."""

PACKAGE = Path(__file__).resolve().parents[1] / 'rfdetr_mm'

# An installed package has copies in .mim, a clone the files themselves.
ROOTS = (PACKAGE / '.mim', PACKAGE.parent)


def find_shipped(name: str) -> Path:
    """Find a file that is shipped beside the package.

    Args:
        name: Its path in the repository, such as ``configs/rfdetr/NAME.py``.

    Returns:
        Its path on this machine.

    Raises:
        FileNotFoundError: If the package was copied without these files.
    """
    for root in ROOTS:
        path = root / name
        if path.is_file():
            return path
    raise FileNotFoundError(
        f'{name} is neither in {ROOTS[0]} nor in {ROOTS[1]}. Install '
        'rfdetr_mm by pip, or in a clone run python setup.py link_mim.'
    )
