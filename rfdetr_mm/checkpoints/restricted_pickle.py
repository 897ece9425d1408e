"""A pickle module for ``torch.load`` that builds data and runs no code.

A pickle may name any importable function and have it called. The unpickler
here looks every name up in a fixed table instead: tensors and their parts,
plain containers, argument namespaces, numpy arrays and the few classes that
mmengine and Lightning write. No other name is imported or called.
"""

import importlib
import pickle
import types
from collections.abc import Callable
from typing import Any, BinaryIO

import torch

_DATA_CLASSES = {
    # Read as what they are, or as the plain type that holds the same data, so
    # that a file opens where Lightning is not installed and a path in it
    # never touches the disk.
    ('collections', 'OrderedDict'): 'collections:OrderedDict',
    ('collections', 'Counter'): 'collections:Counter',
    ('collections', 'defaultdict'): 'collections:defaultdict',
    ('builtins', 'dict'): 'builtins:dict',
    ('builtins', 'list'): 'builtins:list',
    ('builtins', 'tuple'): 'builtins:tuple',
    ('builtins', 'set'): 'builtins:set',
    ('builtins', 'frozenset'): 'builtins:frozenset',
    ('builtins', 'complex'): 'builtins:complex',
    ('builtins', 'slice'): 'builtins:slice',
    ('builtins', 'int'): 'builtins:int',
    ('builtins', 'float'): 'builtins:float',
    ('argparse', 'Namespace'): 'argparse:Namespace',
    ('types', 'SimpleNamespace'): 'types:SimpleNamespace',
    ('datetime', 'timedelta'): 'datetime:timedelta',
    ('pathlib', 'PosixPath'): 'pathlib:PurePosixPath',
    ('pathlib', 'PurePosixPath'): 'pathlib:PurePosixPath',
    ('pathlib', 'WindowsPath'): 'pathlib:PureWindowsPath',
    ('pathlib', 'PureWindowsPath'): 'pathlib:PureWindowsPath',
    ('pathlib._local', 'PosixPath'): 'pathlib:PurePosixPath',
    ('pathlib._local', 'WindowsPath'): 'pathlib:PureWindowsPath',
    ('numpy', 'ndarray'): 'numpy:ndarray',
    ('numpy', 'dtype'): 'numpy:dtype',
    (
        'mmengine.logging.history_buffer',
        'HistoryBuffer',
    ): 'mmengine.logging.history_buffer:HistoryBuffer',
    ('mmengine.config.config', 'ConfigDict'): 'builtins:dict',
    ('lightning_fabric.utilities.data', 'AttributeDict'): 'builtins:dict',
    ('lightning.fabric.utilities.data', 'AttributeDict'): 'builtins:dict',
    ('pytorch_lightning.utilities.parsing', 'AttributeDict'): 'builtins:dict',
    ('torch', 'Size'): 'torch:Size',
    ('torch', 'device'): 'torch:device',
}

_BUILDERS = {
    ('torch._utils', '_rebuild_tensor'),
    ('torch._utils', '_rebuild_tensor_v2'),
    ('torch._utils', '_rebuild_tensor_v3'),
    ('torch._utils', '_rebuild_parameter'),
    ('torch.serialization', '_get_layout'),
    ('numpy.core.multiarray', '_reconstruct'),
    ('numpy.core.multiarray', 'scalar'),
    ('numpy._core.multiarray', '_reconstruct'),
    ('numpy._core.multiarray', 'scalar'),
    ('numpy._core.numeric', '_frombuffer'),
    ('numpy.core.numeric', '_frombuffer'),
}

_STATEFUL = {
    'OrderedDict',
    'Namespace',
    'SimpleNamespace',
    'ndarray',
    'dtype',
    'HistoryBuffer',
}
"""Classes whose instances a pickle may fill with a stored state."""

_HISTORY_STATISTICS = ('min', 'max', 'current', 'mean')


class ForbiddenPickleError(pickle.UnpicklingError):
    """A pickle asks for something outside the table of allowed names.

    Args:
        what: The name or the operation that was asked for.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f'it asks for {what}')
        self.what = what


def _latin1_bytes(text: str, encoding: str = 'latin1') -> bytes:
    """Bytes as protocol 2 spells them, in place of ``_codecs.encode``."""
    if encoding not in ('latin1', 'latin-1'):
        raise ForbiddenPickleError(f'_codecs.encode with {encoding!r}')
    return text.encode('latin1')


def _history_statistic(owner: type, name: str) -> Callable[..., Any]:
    """One of HistoryBuffer's own statistics, in place of ``getattr``.

    Every buffer that mmengine saves lists its statistics as bound by name.
    """
    is_history = (
        getattr(owner, '__module__', None) == 'mmengine.logging.history_buffer'
    )
    if not is_history or name not in _HISTORY_STATISTICS:
        raise ForbiddenPickleError(f'getattr({owner!r}, {name!r})')
    return getattr(owner, name)


def _rebuild_parameter_with_state(
    data: torch.Tensor, requires_grad: bool, hooks: Any, state: Any
) -> torch.Tensor:
    """A parameter without the Python attributes that were pickled with it."""
    return torch.nn.Parameter(data, requires_grad)


_REPLACEMENTS: dict[tuple[str, str], Callable[..., Any]] = {
    ('_codecs', 'encode'): _latin1_bytes,
    ('builtins', 'getattr'): _history_statistic,
    (
        'torch._utils',
        '_rebuild_parameter_with_state',
    ): _rebuild_parameter_with_state,
}


def _find_allowed(module: str, name: str) -> tuple[Any, bool]:
    """Look a pickled name up in the table.

    Returns:
        The object, and whether a pickle may call it.

    Raises:
        ForbiddenPickleError: If the table does not have the name.
    """
    key = (module, name)
    if key in _REPLACEMENTS:
        return _REPLACEMENTS[key], True
    if key in _DATA_CLASSES:
        module, name = _DATA_CLASSES[key].split(':')
    elif key in _BUILDERS:
        module = module.replace('numpy._core', _numpy_core())
        module = module.replace('numpy.core', _numpy_core())
    elif module == 'torch' and isinstance(
        getattr(torch, name, None), (torch.dtype, torch.layout)
    ):
        return getattr(torch, name), False
    elif key == ('torch.storage', 'UntypedStorage'):
        return torch.UntypedStorage, False
    else:
        raise ForbiddenPickleError(f'{module}.{name}')
    try:
        return getattr(importlib.import_module(module), name), True
    except ImportError as error:
        raise ForbiddenPickleError(
            f'{module}.{name}, which is not installed here'
        ) from error


def _numpy_core() -> str:
    """The name of numpy's core package: numpy 2 added an underscore."""
    numpy = importlib.import_module('numpy')
    is_numpy_1 = numpy.__version__.startswith('1.')
    return 'numpy.core' if is_numpy_1 else 'numpy._core'


# The C unpickler cannot be told which objects may be called or filled, so the
# interpreter's own Python one is used; a checkpoint holds a few thousand
# opcodes beside its tensors.
class RestrictedUnpickler(pickle._Unpickler):  # type: ignore[name-defined]
    """An unpickler that calls and fills only what the table allows.

    Raises:
        ForbiddenPickleError: On the first name or operation that is not
            allowed, before anything is imported or called for it.
    """

    dispatch = dict(pickle._Unpickler.dispatch)  # type: ignore[attr-defined]

    def __init__(self, file: BinaryIO, **kwargs: Any) -> None:
        super().__init__(file, **kwargs)
        self._callables: list[Any] = []

    def find_class(self, module: str, name: str) -> Any:
        """Return the allowed object that a pickle calls ``module.name``."""
        module = {'__builtin__': 'builtins'}.get(module, module)
        found, is_callable = _find_allowed(module, name)
        if is_callable:
            self._callables.append(found)
        return found

    def _check_callable(self, target: Any) -> None:
        if not any(target is allowed for allowed in self._callables):
            raise ForbiddenPickleError(f'a call of {target!r}')

    def _load_global(self) -> None:
        module, name = self.readline(), self.readline()
        if not name.endswith(b'\n'):
            raise EOFError('the file ends within a name')
        self.append(self.find_class(module[:-1].decode(), name[:-1].decode()))

    def _load_reduce(self) -> None:
        self._check_callable(self.stack[-2])
        super().load_reduce()

    def _load_newobj(self) -> None:
        self._check_callable(self.stack[-2])
        super().load_newobj()

    def _load_build(self) -> None:
        target = self.stack[-2]
        bases = {base.__name__ for base in type(target).__mro__}
        if isinstance(target, type) or not bases & _STATEFUL:
            raise ForbiddenPickleError(f'changing the state of {target!r}')
        super().load_build()

    def _refuse(self) -> None:
        raise ForbiddenPickleError('an opcode that no checkpoint needs')

    dispatch[pickle.GLOBAL[0]] = _load_global
    dispatch[pickle.REDUCE[0]] = _load_reduce
    dispatch[pickle.NEWOBJ[0]] = _load_newobj
    dispatch[pickle.BUILD[0]] = _load_build
    for _opcode in (
        pickle.INST,
        pickle.OBJ,
        pickle.NEWOBJ_EX,
        pickle.EXT1,
        pickle.EXT2,
        pickle.EXT4,
    ):
        dispatch[_opcode[0]] = _refuse


def restricted_pickle_module() -> types.ModuleType:
    """Return what ``torch.load(pickle_module=…)`` wants, made safe."""

    def load(file: BinaryIO, **kwargs: Any) -> Any:
        return RestrictedUnpickler(file, **kwargs).load()

    module = types.ModuleType('rfdetr_mm_restricted_pickle')
    module.Unpickler = RestrictedUnpickler  # type: ignore[attr-defined]
    module.load = load  # type: ignore[attr-defined]
    return module
