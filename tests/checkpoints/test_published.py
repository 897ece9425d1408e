import builtins
import errno
import hashlib
import os
from pathlib import Path

import pytest
from file_server import Answer, file_server

from rfdetr_mm.checkpoints import (
    PUBLISHED_FILES,
    SHIPPED_FILES,
    PublishedFile,
    cache_dir,
    file_md5,
    hint_for_missing,
    published,
    published_address,
    read_checkpoint,
    resolve_weights,
    transfer,
)
from rfdetr_mm.checkpoints.published import BASE_URL
from rfdetr_mm.errors import InputError

_CONTENT = b'weights' * 1000
_MD5 = hashlib.md5(_CONTENT).hexdigest()


@pytest.fixture
def server():
    with file_server() as server:
        for name in ('free.pth', 'xl.pth'):
            server.files[f'/remote/{name}'] = _CONTENT
        yield server


def _resolve(server, name, folder, **options):
    return resolve_weights(
        name, folder=folder, base_url=f'{server.url}/', **options
    )


@pytest.fixture
def one_file(monkeypatch):
    """One free and one licensed file whose content we know."""
    for name, licence in (('free.pth', 'Apache-2.0'), ('xl.pth', 'PML-1.0')):
        file = PublishedFile(name, f'remote/{name}', _MD5, licence)
        monkeypatch.setitem(PUBLISHED_FILES, name, file)


def test_the_table_is_complete_and_free_of_typing_errors():
    assert len(PUBLISHED_FILES) == 18
    md5s = [file.md5 for file in PUBLISHED_FILES.values()]
    assert all(len(md5) == 32 and int(md5, 16) >= 0 for md5 in md5s)
    assert len(set(md5s)) == 18
    assert len({file.remote for file in PUBLISHED_FILES.values()}) == 18
    licensed = {
        n for n, f in PUBLISHED_FILES.items() if f.licence != 'Apache-2.0'
    }
    assert licensed == {'rf-detr-xlarge.pth', 'rf-detr-xxlarge.pth'}
    assert all(name == file.name for name, file in PUBLISHED_FILES.items())


@pytest.fixture
def own_weights(monkeypatch, tmp_path):
    """A folder in place of that of the shipped weights, and a file in it."""
    folder = tmp_path / 'shipped'
    folder.mkdir()
    (folder / 'own.pth').write_bytes(_CONTENT)
    monkeypatch.setitem(SHIPPED_FILES, 'own.pth', _MD5)
    monkeypatch.setattr(published, '_SHIPPED_DIR', folder)
    return folder / 'own.pth'


@pytest.mark.parametrize('name', ['own.pth', 'rfdetr://own.pth'])
def test_a_shipped_file_needs_no_network(server, own_weights, tmp_path, name):
    assert _resolve(server, name, tmp_path / 'cache') == own_weights
    assert server.requests == [] and not (tmp_path / 'cache').exists()


def test_a_shipped_file_that_is_broken_or_gone(own_weights):
    own_weights.write_bytes(_CONTENT[1:])
    with pytest.raises(
        InputError, match=f'own.pth has the MD5 .*{_MD5}.*Inst'
    ):
        resolve_weights('own.pth')
    own_weights.unlink()
    with pytest.raises(FileNotFoundError, match='own.pth, which comes with'):
        resolve_weights('own.pth')


def test_what_is_shipped_is_there_small_and_half_precise():
    assert not set(SHIPPED_FILES) & set(PUBLISHED_FILES)
    for name in SHIPPED_FILES:
        path = resolve_weights(name)
        assert path.stat().st_size <= 7_000_000
        weights = read_checkpoint(path)['state_dict'].values()
        assert {str(w.dtype) for w in weights} == {'torch.float16'}
        assert hint_for_missing(f'gone/{name}').endswith(f'{name}?')
    with pytest.raises(InputError, match='rf-detr-tiny-shapes.pth comes with'):
        resolve_weights('something-else.pth')


def test_a_file_is_downloaded_once(server, one_file, tmp_path):
    path = _resolve(server, 'free.pth', tmp_path)
    assert path == tmp_path / 'free.pth' and path.read_bytes() == _CONTENT
    assert _resolve(server, 'rfdetr://free.pth', tmp_path) == path
    assert server.requests == [('/remote/free.pth', None)]
    assert list(tmp_path.iterdir()) == [path]


def test_a_broken_transfer_is_resumed_and_checked(
    server, one_file, tmp_path, monkeypatch
):
    monkeypatch.setattr(transfer, '_WAITS_S', (0,))
    server.plan = [Answer(cut=100), Answer(status=404)]
    with pytest.raises(ConnectionError, match='kept for another try'):
        _resolve(server, 'free.pth', tmp_path)
    path = _resolve(server, 'free.pth', tmp_path)
    assert server.requests[-1] == ('/remote/free.pth', 'bytes=100-')
    assert path.read_bytes() == _CONTENT
    path.unlink()
    server.files['/remote/free.pth'] = b'another version'
    with pytest.raises(InputError, match=f'expected {_MD5}'):
        _resolve(server, 'free.pth', tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_network_says_what_to_put_where(one_file, tmp_path):
    with pytest.raises(ConnectionError, match='Without a network') as error:
        resolve_weights(
            'free.pth', folder=tmp_path, base_url='http://127.0.0.1:9/'
        )
    for part in ('9/remote/free.pth', str(tmp_path / 'free.pth'), _MD5):
        assert part in str(error.value), part
    assert '\n' not in str(error.value)


def _fail_to_write(*args, **kwargs):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_read_only_cache_serves_what_it_has(
    server, one_file, tmp_path, monkeypatch
):
    """Root may write anywhere, so every way to write is taken away."""
    (tmp_path / 'free.pth').write_bytes(_CONTENT)
    real = builtins.open

    def read_only(path, mode='r', *args, **kwargs):
        return (real if mode == 'rb' else _fail_to_write)(path, mode)

    monkeypatch.setattr(builtins, 'open', read_only)
    for name in ('mkdir', 'rename', 'replace', 'unlink', 'utime'):
        monkeypatch.setattr(os, name, _fail_to_write)
    assert _resolve(server, 'free.pth', tmp_path) == tmp_path / 'free.pth'
    assert server.requests == []
    xl = 'rfdetr://xl.pth?accept_platform_model_license=1'
    monkeypatch.setenv('RF_HOME', str(tmp_path))
    for folder, way_out in (
        (None, 'or set RF_HOME to another folder'),
        (tmp_path, 'or give another folder'),
    ):
        with pytest.raises(OSError, match='Read-only file system') as error:
            _resolve(server, xl, folder)
        text = str(error.value)
        assert str(tmp_path) in text and way_out in text
        assert '\n' not in text
    assert server.requests == []


def test_a_cache_folder_below_a_file(server, one_file, tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('RF_HOME', str(tmp_path / 'file' / 'cache'))
    with pytest.raises(OSError, match='set RF_HOME to another folder'):
        _resolve(server, 'free.pth', None)


def test_a_changed_cached_file_is_reported_and_kept(one_file, tmp_path):
    path = tmp_path / 'free.pth'
    path.write_bytes(b'my own file')
    with pytest.raises(InputError, match='Delete it') as error:
        resolve_weights('free.pth', folder=tmp_path)
    assert file_md5(path) in str(error.value) and _MD5 in str(error.value)
    assert path.read_bytes() == b'my own file'


@pytest.mark.parametrize('query', ['', '?accept_platform_model_license=0'])
def test_licensed_files_want_a_yes(server, one_file, tmp_path, query):
    address = f'rfdetr://xl.pth{query}'
    # A file that is already there is under the same licence.
    for _ in range(2):
        with pytest.raises(InputError, match='PML-1.0') as error:
            _resolve(server, address, tmp_path)
        for way in (
            'rfdetr://xl.pth?accept_platform_model_license=1',
            'accept_platform_model_license=True',
        ):
            assert way in str(error.value)
        (tmp_path / 'xl.pth').write_bytes(_CONTENT)
    assert server.requests == []


@pytest.mark.parametrize(
    'name, options',
    [
        ('rfdetr://xl.pth?accept_platform_model_license=1', {}),
        ('rfdetr://xl.pth?accept_platform_model_license=True', {}),
        ('xl.pth', {'accept_platform_model_license': True}),
        ('rfdetr://xl.pth', {'accept_platform_model_license': True}),
    ],
)
def test_licensed_files_come_with_a_yes(
    server, one_file, tmp_path, name, options
):
    path = _resolve(server, name, tmp_path, **options)
    assert path.read_bytes() == _CONTENT


@pytest.mark.parametrize(
    'path, hint',
    [
        ('rf-detr-nano.pth', ' Did you mean rfdetr://rf-detr-nano.pth?'),
        ('a/rf-detr-nano.pth', ' Did you mean rfdetr://rf-detr-nano.pth?'),
        (Path('rf-detr-nano.pth'), ' Did you mean rfdetr://rf-detr-nano.pth?'),
        ('rf-detr-nano', ''),
        ('my-rf-detr-nano.pth', ''),
        ('epoch_1.pth', ''),
        ('', ''),
    ],
)
def test_bare_published_names_get_a_hint(path, hint):
    assert hint_for_missing(path) == hint


def test_unknown_names_and_options():
    with pytest.raises(InputError, match='Did you mean rf-detr-nano.pth'):
        resolve_weights('rfdetr://rf-detr-nan.pth')
    with pytest.raises(InputError, match='rf-detr-seg-xxlarge.pt'):
        resolve_weights('../../etc/passwd')
    with pytest.raises(InputError, match="unknown option 'licence'"):
        resolve_weights('rfdetr://rf-detr-nano.pth?licence=1')


@pytest.mark.parametrize(
    'variables, expected',
    [
        ({}, '/home/me/.roboflow/models'),
        ({'RF_HOME': ''}, '/home/me/.roboflow/models'),
        ({'ROBOFLOW_HOME': '/b'}, '/b'),
        ({'RF_HOME': '~/a', 'ROBOFLOW_HOME': '/b'}, '/home/me/a'),
        ({'RF_HOME': '', 'ROBOFLOW_HOME': '/b'}, '/b'),
    ],
)
def test_the_cache_is_rfdetrs_own(variables, expected, monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    for name in ('RF_HOME', 'ROBOFLOW_HOME'):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(cache_dir()) == expected


def test_web_addresses_of_published_files_are_known():
    for url, expected in (
        (
            BASE_URL + 'small_coco/checkpoint_best_regular.pth',
            'rfdetr://rf-detr-small.pth',
        ),
        (
            BASE_URL + 'platform-licensed/rf-detr-xlarge.pth?a=1',
            'rfdetr://rf-detr-xlarge.pth?a=1',
        ),
        ('https://example.com/rf-detr-small.pth', None),
    ):
        assert published_address(url) == expected
