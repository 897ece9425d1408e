"""Python finds the stand-in where mmcv has no compiled extension.

The finder is the last on ``sys.meta_path``: Python asks it for ``mmcv._ext``
when no file of that name was found, so that it can hide none.
"""

import ast
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from types import ModuleType
from typing import Any

EXTENSION = 'mmcv._ext'
_OPERATORS = 'mmcv.ops'
_USERS = ('mmcv', 'mmdet')


class OperatorFinder(MetaPathFinder, Loader):
    """Finds and loads ``mmcv._ext``."""

    def find_spec(
        self, fullname: str, path: Any = None, target: Any = None
    ) -> ModuleSpec | None:
        """The stand-in's spec, if it is asked for."""
        if fullname != EXTENSION:
            return None
        return ModuleSpec(fullname, self, origin='rfdetr_mm.operators')

    def create_module(self, spec: ModuleSpec) -> None:
        """As Python does it."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the operators into it."""
        # Not before mmcv asks: it imports torchvision.
        extension = importlib.import_module('.extension', __package__)
        for name in extension.__all__:
            setattr(module, name, getattr(extension, name))
        module.__getattr__ = extension.__getattr__
        module.__doc__ = extension.__doc__


def activate() -> None:
    """Let mmcv's operators work, whatever was imported before.

    Raises:
        ImportError: A compiled extension is there and does not load.
    """
    if any(isinstance(found, OperatorFinder) for found in sys.meta_path):
        return
    sys.meta_path.append(OperatorFinder())
    if importlib.util.find_spec('mmcv') is None:
        return
    _check_compiled()
    _repair_earlier_imports()


def _check_compiled() -> None:
    """Say which file it is if a compiled extension is of another torch."""
    importlib.import_module('torch')
    spec = importlib.util.find_spec(EXTENSION)
    if not str(spec.origin).endswith(tuple(EXTENSION_SUFFIXES)):
        return
    try:
        importlib.import_module(EXTENSION)
    except ImportError as error:
        torch = sys.modules['torch']
        line = ' '.join(str(error).split())
        raise ImportError(
            f'{spec.origin}, the compiled operators of mmcv, does not load '
            f'with torch {torch.__version__} ({line}): they were compiled for '
            'another torch or Python. Reinstall mmcv: pip without '
            '--no-build-isolation builds it without operators, which is '
            'enough, as rfdetr_mm has its own; docs/operators.md tells how to '
            'compile them'
        ) from error


def _repair_earlier_imports() -> None:
    """Give modules that were imported before what they did not get.

    mmdet guards its imports of ``mmcv.ops``: without the extension it defines
    functions and classes that raise an error instead. Their modules are asked
    for the guarded imports, which are done again.
    """
    substitutes = {}
    for module in _loaded_users():
        for source, name, bound in _guarded_imports(module):
            operators = importlib.import_module(source)
            right = getattr(operators, name)
            had = vars(module).get(bound)
            if had is not right:
                setattr(module, bound, right)
                if had is not None:
                    substitutes[id(had)] = (had, right)
    # Other modules may have taken them from there.
    for module in _loaded_users():
        for name, value in list(vars(module).items()):
            if id(value) in substitutes:
                setattr(module, name, substitutes[id(value)][1])


def _loaded_users() -> list[ModuleType]:
    """Modules of mmcv and mmdet that were imported, but not its operators."""
    return [
        module
        for name, module in list(sys.modules.items())
        if name.partition('.')[0] in _USERS
        and not f'{name}.'.startswith(f'{_OPERATORS}.')
        and isinstance(module, ModuleType)
        and getattr(module, '__file__', None)
    ]


def _guarded_imports(module: ModuleType) -> Iterator[tuple[str, str, str]]:
    """Its imports of operators that may fail: from where, what, bound to."""
    try:
        text = inspect.getsource(module)
    except OSError:
        return  # A module without a source, such as a compiled one.
    if _OPERATORS not in text:
        return
    for node in ast.parse(text).body:
        for statement in node.body if isinstance(node, ast.Try) else ():
            source = getattr(statement, 'module', None)
            if not f'{source}.'.startswith(f'{_OPERATORS}.'):
                continue
            for alias in statement.names:
                yield source, alias.name, alias.asname or alias.name
