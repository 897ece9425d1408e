import argparse
import collections
import json
import os
import pickle
import struct
import types
import zipfile

import pytest
import torch

from rfdetr_mm.checkpoints import read_checkpoint, read_safetensors
from rfdetr_mm.errors import InputError


class _TouchOnLoad:
    """Runs a shell command when it is unpickled."""

    def __init__(self, sentinel):
        self.sentinel = sentinel

    def __reduce__(self):
        return os.system, (f'touch {self.sentinel}',)


def _save(content, path, is_zip=True):
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    return path


def _equal(read, expected):
    assert read.keys() == expected.keys()
    for key, tensor in expected.items():
        assert read[key].dtype == tensor.dtype, key
        assert torch.equal(read[key], tensor), key


@pytest.mark.parametrize('is_zip', [True, False])
def test_tensors_come_back(tmp_path, is_zip):
    base = torch.randn(4, 6)
    weights = {
        'float': base,
        'half': base.half(),
        'bfloat16': base.bfloat16(),
        'int64': torch.arange(3),
        'bool': torch.tensor([True, False]),
        'empty': torch.zeros(0, 3),
        'scalar': torch.tensor(2.0),
        'view': base.t()[1:3],
        'parameter': torch.nn.Parameter(base),
    }
    path = _save(weights, tmp_path / 'a.pth', is_zip)
    _equal(read_checkpoint(path), weights)
    _equal(read_checkpoint(str(path), map_location='cpu'), weights)


@pytest.mark.parametrize('is_zip', [True, False])
def test_shared_storage_stays_shared(tmp_path, is_zip):
    base = torch.randn(4)
    path = _save({'a': base, 'b': base[2:]}, tmp_path / 'a.pth', is_zip)
    read = read_checkpoint(path)
    read['a'][2] = 7.0
    assert read['b'][0] == 7.0


@pytest.mark.parametrize('is_zip', [True, False])
@pytest.mark.parametrize(
    'args',
    [
        argparse.Namespace(class_names=['cat'], lr=1e-4),
        types.SimpleNamespace(class_names=['cat']),
        {'class_names': ['cat']},
    ],
)
def test_upstream_args_come_back(tmp_path, args, is_zip):
    state_dict = collections.OrderedDict(a=torch.zeros(2))
    path = _save(
        {'model': state_dict, 'args': args}, tmp_path / 'a.pth', is_zip
    )
    assert read_checkpoint(path)['args'] == args


def test_a_state_dict_keeps_its_metadata(tmp_path):
    state_dict = torch.nn.Linear(2, 2).state_dict()
    path = _save({'state_dict': state_dict}, tmp_path / 'a.pth')
    read = read_checkpoint(path)['state_dict']
    assert read._metadata == state_dict._metadata


@pytest.mark.parametrize('is_zip', [True, False])
@pytest.mark.parametrize('place', ['top', 'args', 'namespace', 'key'])
def test_hostile_files_are_refused_and_do_not_run(tmp_path, is_zip, place):
    sentinel = tmp_path / 'sentinel'
    attack = _TouchOnLoad(sentinel)
    content = {
        'top': {'model': {}, 'attack': attack},
        'args': {'model': {}, 'args': {'deep': [1, (attack,)]}},
        'namespace': {'model': {}, 'args': argparse.Namespace(x=attack)},
        'key': {'model': {attack: 1}},
    }[place]
    path = _save(content, tmp_path / 'hostile.pth', is_zip)
    with pytest.raises(InputError) as error:
        read_checkpoint(path)
    for part in (str(path), 'system', 'save the weights alone'):
        assert part in str(error.value)
    assert not sentinel.exists()
    # The file is a working attack on a reader that trusts it.
    torch.load(path, weights_only=False)
    assert sentinel.exists()


def test_a_bare_hostile_pickle_does_not_run(tmp_path):
    sentinel = tmp_path / 'sentinel'
    path = tmp_path / 'hostile.pth'
    path.write_bytes(pickle.dumps(_TouchOnLoad(sentinel), 2))
    with pytest.raises(InputError, match='system'):
        read_checkpoint(path)
    assert not sentinel.exists()


def test_a_pickled_model_is_refused_with_the_way_out(tmp_path):
    path = _save(torch.nn.Linear(2, 2), tmp_path / 'model.pth')
    with pytest.raises(InputError, match='torch.nn.modules.linear.Linear'):
        read_checkpoint(path)


def test_torchscript_is_refused(tmp_path):
    path = tmp_path / 'script.pt'
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    with pytest.raises(InputError, match='TorchScript program'):
        read_checkpoint(path)


def test_a_forced_weights_only_switch_does_not_disturb(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    path = _save({'a': torch.ones(1)}, tmp_path / 'a.pth')
    assert read_checkpoint(path)['a'] == 1
    assert os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] == '1'


@pytest.mark.parametrize('is_zip', [True, False])
@pytest.mark.parametrize('part', [0.01, 0.3, 0.9, 0.999])
def test_truncated_files(tmp_path, is_zip, part):
    path = _save({'a': torch.randn(4000)}, tmp_path / 'a.pth', is_zip)
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(InputError, match='truncated or of another kind'):
        read_checkpoint(path)


@pytest.mark.parametrize(
    'name, data, message',
    [
        ('empty.pth', b'', 'is empty'),
        ('text.pth', b'hello world, this is text\n' * 9, 'not a readable'),
        ('latin.pth', b'caf\xe9 ' * 99, 'not a readable'),
        ('picture.pth', b'\x89PNG\r\n\x1a\n' + b'\0' * 99, 'a PNG picture'),
        ('photo.pth', b'\xff\xd8\xff\xe0' + b'\0' * 99, 'a JPEG picture'),
        ('page.pth', b'\n<!DOCTYPE html><html>', 'a web page'),
        ('lfs.pth', b'version https://git-lfs.github.com/', 'Git LFS'),
        ('number.pth', b'\x80\x02K\x01.', 'not a readable'),
        ('zeros.pth', b'\0' * 99, 'not a readable'),
    ],
)
def test_other_files(tmp_path, name, data, message):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as error:
        read_checkpoint(path)
    assert str(path) in str(error.value)


def test_a_zip_archive_that_is_no_checkpoint(tmp_path):
    path = tmp_path / 'a.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('readme.txt', 'hello')
    with pytest.raises(InputError, match='not a readable checkpoint'):
        read_checkpoint(path)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match='no checkpoint file'):
        read_checkpoint(tmp_path / 'missing.pth')
    with pytest.raises(InputError, match='is a folder'):
        read_checkpoint(tmp_path)


def test_a_lone_tensor_is_no_checkpoint(tmp_path):
    path = _save(torch.zeros(2), tmp_path / 'a.pth')
    with pytest.raises(InputError, match='holds a Tensor'):
        read_checkpoint(path)


def _write_safetensors(path, header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack('<Q', len(text)) + text + data)
    return path


def test_safetensors_written_by_the_library_are_read(tmp_path):
    safetensors = pytest.importorskip('safetensors.torch')
    weights = {
        'a': torch.randn(3, 5),
        'b': torch.randn(2).bfloat16(),
        'c': torch.arange(4),
        'd': torch.tensor([True, False, True]),
        'e': torch.zeros(0, 4),
        'f': torch.tensor(1.5),
    }
    path = tmp_path / 'a.safetensors'
    safetensors.save_file(weights, path, metadata={'format': 'pt'})
    _equal(read_checkpoint(path), weights)


@pytest.mark.parametrize(
    'entry',
    [
        {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 4]},
        {'dtype': 'F32', 'shape': [2], 'data_offsets': [4, 12]},
        {'dtype': 'F32', 'shape': [2], 'data_offsets': [-8, 0]},
        {'dtype': 'F32', 'shape': [-1, -2], 'data_offsets': [0, 8]},
        {'dtype': 'F31', 'shape': [2], 'data_offsets': [0, 8]},
        {'dtype': 'F32', 'shape': [2]},
        {'dtype': 'F32', 'shape': 'ab', 'data_offsets': [0, 8]},
        [1, 2],
    ],
)
def test_broken_safetensors_entries(tmp_path, entry):
    path = _write_safetensors(
        tmp_path / 'a.safetensors', {'a': entry}, b'\0' * 8
    )
    with pytest.raises(InputError, match='broken .safetensors'):
        read_safetensors(path)


@pytest.mark.parametrize(
    'data',
    [
        struct.pack('<Q', 1 << 60) + b'{}',
        struct.pack('<Q', 0),
        b'1234',
        struct.pack('<Q', 4) + b'[1,2',
        struct.pack('<Q', 6) + b'[1, 2]',
    ],
)
def test_broken_safetensors_headers(tmp_path, data):
    path = tmp_path / 'a.safetensors'
    path.write_bytes(data)
    with pytest.raises(InputError, match='broken .safetensors'):
        read_checkpoint(path)
