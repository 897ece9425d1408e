"""One error for every backend whose package is not installed."""

import importlib.util

from ..errors import InputError


def require_package(module: str, backend: str, install: str) -> None:
    """Stop unless a package of a backend can be imported.

    Args:
        module: Its import name.
        backend: What needs it, for the message.
        install: The command that installs it.

    Raises:
        InputError: If it is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise InputError(
            f'{backend} needs the package {module}, which is not installed: '
            f'{install}'
        )
