import argparse
import collections
import copyreg
import io
import os
import pathlib
import pickle
import sys
import types

import numpy
import pytest
import torch
from mmengine.logging import HistoryBuffer

from rfdetr_mm.checkpoints.restricted_pickle import (
    ForbiddenPickleError,
    RestrictedUnpickler,
)


def _read(data: bytes):
    return RestrictedUnpickler(io.BytesIO(data)).load()


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
@pytest.mark.parametrize(
    'value',
    [
        {'a': [1, 2.5, None, True, 'text', b'bytes', (1, 2)]},
        {1, 2},
        frozenset({'a'}),
        slice(1, 2),
        1 + 2j,
        collections.OrderedDict(a=1),
        collections.Counter('aab'),
        collections.defaultdict(list, {'a': [1]}),
        argparse.Namespace(lr=1e-4, nested=argparse.Namespace(a=1)),
        types.SimpleNamespace(names=['a', 'b']),
        torch.Size([1, 2]),
        torch.float16,
        torch.device('cpu'),
    ],
    ids=lambda value: type(value).__name__,
)
def test_plain_data_comes_back(value, protocol):
    read = _read(pickle.dumps(value, protocol))
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize('protocol', [2, 4, 5])
def test_numpy_comes_back(protocol):
    value = {
        'array': numpy.arange(6.0).reshape(2, 3),
        'strings': numpy.array(['a', 'bc'], dtype=object),
        'scalar': numpy.float64(2.5),
        'dtype': numpy.dtype('int32'),
    }
    read = _read(pickle.dumps(value, protocol))
    assert read['array'].tolist() == value['array'].tolist()
    assert read['strings'].tolist() == ['a', 'bc']
    assert read['scalar'] == 2.5 and read['dtype'] == 'int32'


def test_names_of_both_numpy_generations_are_read():
    data = pickle.dumps(numpy.arange(3), 2)
    for old, new in (
        (b'numpy.core.', b'numpy._core.'),
        (b'numpy._core.', b'numpy.core.'),
    ):
        assert _read(data.replace(old, new)).tolist() == [0, 1, 2]


def test_paths_come_back_without_access_to_the_disk():
    read = _read(pickle.dumps(pathlib.Path('a/b'), 2))
    assert isinstance(read, pathlib.PurePath)
    assert not isinstance(read, pathlib.Path) and str(read) == 'a/b'


class _Calls:
    """Pickles as a call of anything."""

    def __init__(self, function, *args, state=None):
        self.call = (function, args) + ((state,) if state else ())

    def __reduce__(self):
        return self.call


_SENTINEL = 'rfdetr_mm_sentinel'


@pytest.mark.parametrize(
    'function, args, name',
    [
        (os.system, (f'touch {_SENTINEL}',), 'system'),
        (eval, (f'open("{_SENTINEL}", "w")',), 'builtins.eval'),
        (exec, (f'open("{_SENTINEL}", "w")',), 'builtins.exec'),
        (open, (_SENTINEL, 'w'), 'open'),
        (__import__, ('this',), 'builtins.__import__'),
        (torch.load, (_SENTINEL,), 'torch.serialization.load'),
        (torch.hub.load, (_SENTINEL, 'x'), 'torch.hub.load'),
        (torch.storage._load_from_bytes, (b'',), '_load_from_bytes'),
        (pickle.loads, (b'',), 'loads'),
        (getattr, (os, 'system'), ''),
        (getattr, (argparse.Namespace, '__init__'), ''),
        (copyreg._reconstructor, (dict, dict, {}), '_reconstructor'),
    ],
    ids=lambda value: getattr(value, '__name__', ''),
)
@pytest.mark.parametrize('protocol', [2, 4])
def test_nothing_else_is_called(
    function, args, name, protocol, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    value = {'nested': [_Calls(function, *args)]}
    if function is getattr and args[0] is os:
        # A module cannot be pickled; name it as the attack would.
        data = b'\x80\x02cbuiltins\ngetattr\ncos\nsystem\nX\x01\x00\x00\x00a'
        data += b'\x86R.'
    else:
        data = pickle.dumps(value, protocol)
    with pytest.raises(ForbiddenPickleError) as error:
        _read(data)
    assert name in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_the_plain_unpickler_would_have_run_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(_Calls(os.system, f'touch {_SENTINEL}')))
    assert (tmp_path / _SENTINEL).exists()


@pytest.mark.parametrize(
    'data, what',
    [
        # Changing a class instead of an instance.
        (b'\x80\x02cargparse\nNamespace\nN}X\x01\x00\x00\x00aK\x01s\x86b.',
         'changing the state'),
        # Changing a function.
        (b'\x80\x02ctorch._utils\n_rebuild_tensor\n}X\x01\x00\x00\x00aK\x01sb.',
         'changing the state'),
        # Calling what is a value and no function.
        (b'\x80\x02ctorch\nfloat32\n)R.', 'a call of torch.float32'),
        # The old opcodes for instances.
        (b'(iargparse\nNamespace\n.', 'opcode'),
        (b'(cargparse\nNamespace\no.', 'opcode'),
        # The table of extension codes.
        (b'\x80\x02\x82\x01.', 'opcode'),
    ],
)  # fmt: skip
def test_classes_and_functions_cannot_be_changed(data, what):
    with pytest.raises(ForbiddenPickleError, match=what):
        _read(data)
    assert not hasattr(argparse.Namespace, 'a')
    assert not hasattr(torch._utils._rebuild_tensor, 'a')


def test_history_buffers_come_back_whole():
    buffer = HistoryBuffer([1.0, 3.0], [1, 1])
    read = _read(pickle.dumps({'loss': buffer}, 2))['loss']
    assert read.statistics('mean') == 2.0 and read.current() == 3.0


@pytest.mark.parametrize('name', ['__init__', 'register_statistics', 'update'])
def test_only_statistics_are_taken_from_history_buffers(name):
    value = _Calls(getattr, HistoryBuffer, name)
    with pytest.raises(ForbiddenPickleError, match=name):
        _read(pickle.dumps(value, 2))


def test_what_getattr_returns_cannot_be_called():
    data = (
        b'\x80\x02cbuiltins\ngetattr\n'
        b'cmmengine.logging.history_buffer\nHistoryBuffer\n'
        b'X\x03\x00\x00\x00min\x86RK\x01\x85R.'
    )
    with pytest.raises(ForbiddenPickleError, match='a call of'):
        _read(data)


def test_an_allowed_class_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmengine', None)
    monkeypatch.setitem(sys.modules, 'mmengine.logging.history_buffer', None)
    data = b'\x80\x02cmmengine.logging.history_buffer\nHistoryBuffer\n.'
    with pytest.raises(ForbiddenPickleError, match='not installed here'):
        _read(data)
