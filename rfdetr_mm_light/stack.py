"""The packages that rfdetr_mm stands on, without importing them."""

import importlib.metadata
import importlib.util
import sys

# Import name to distributions: OneDL's, OpenMMLab's.
DISTRIBUTIONS = {
    'mmengine': ('onedl-mmengine', 'mmengine'),
    'mmcv': ('onedl-mmcv', 'mmcv'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
}

# What ``import rfdetr_mm`` imports; the extras of either stack bring it.
NEEDED = ('torch', 'torchvision', 'scipy', *DISTRIBUTIONS)


def check_stack() -> None:
    """Check that everything is installed that ``import rfdetr_mm`` needs.

    Raises:
        ImportError: With the names of what is missing and the way to get it.
    """
    missing = [name for name in NEEDED if not is_installed(name)]
    if missing:
        raise ImportError(
            f'rfdetr_mm needs {", ".join(missing)}, which this Python does '
            "not have. Install a stack: pip install 'rfdetr_mm[onedl]', or "
            "'rfdetr_mm[openmmlab]' for OpenMMLab's own packages."
        )


def is_installed(name: str) -> bool:
    """Whether a package can be imported; it is not imported."""
    return name in sys.modules or importlib.util.find_spec(name) is not None


def version_of(distribution: str) -> str | None:
    """The version of an installed distribution, None if there is none."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
