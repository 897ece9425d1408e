"""What an operator that is not covered raises."""

import importlib.metadata
from collections.abc import Callable
from typing import Any, NoReturn


class OperatorNotCompiledError(NotImplementedError):
    """An operator that only a compiled mmcv has."""


def not_compiled(operator: str) -> OperatorNotCompiledError:
    """The error for an operator, in one line.

    Args:
        operator: Its name in ``mmcv._ext``, perhaps with an option.

    Returns:
        The error, which the caller raises.
    """
    try:
        importlib.metadata.version('onedl-mmcv')
        name = 'onedl-mmcv'
    except importlib.metadata.PackageNotFoundError:
        name = 'mmcv'
    return OperatorNotCompiledError(
        f'the operator {operator} needs a compiled mmcv; the installed mmcv '
        'was built without its C++ operators, and what stands in for them '
        '(rfdetr_mm/operators) does not cover this one. To compile them, '
        'which needs a C++ compiler and about 12 minutes: MMCV_WITH_OPS=1 '
        'pip install --force-reinstall --no-deps --no-cache-dir '
        f'--no-build-isolation --no-binary {name} {name}'
    )


def missing_operator(name: str) -> Callable[..., Any]:
    """What stands in the place of an operator that is not covered.

    mmcv looks for all names of its extension when it is imported, and calls
    one only when a model uses it.

    Args:
        name: Its name in ``mmcv._ext``.

    Returns:
        A function that takes any arguments and raises
        :class:`OperatorNotCompiledError`.
    """

    def missing(*args: Any, **kwargs: Any) -> NoReturn:
        """Say that it is not covered.

        Raises:
            OperatorNotCompiledError: Always.
        """
        raise not_compiled(name)

    missing.__name__ = missing.__qualname__ = name
    return missing
