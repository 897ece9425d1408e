import functools
import hashlib
import io
import os
import pickle

import pytest
import torch
from checkpoint_factory import meta_dinov2_state_dict, upstream_state_dict
from file_server import Answer, file_server
from mmengine.runner import CheckpointLoader, load_checkpoint

import rfdetr_mm.engine.checkpoint_loaders as loaders
from rfdetr_mm.checkpoints import (
    PUBLISHED_FILES,
    PublishedFile,
    resolve_weights,
    transfer,
    upstream_to_mmdet,
)
from rfdetr_mm.errors import InputError


class _TouchOnLoad:
    def __init__(self, sentinel):
        self.sentinel = sentinel

    def __reduce__(self):
        return os.system, (f'touch {self.sentinel}',)


@pytest.fixture
def server():
    with file_server() as server:
        yield server


def _paths(server):
    return [path for path, _ in server.requests]


def _bytes(content, **options):
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def own_caches(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('RF_HOME', str(tmp_path / 'rfdetr'))


def _load(address):
    return CheckpointLoader.load_checkpoint(address, map_location='cpu')


def _expected():
    return upstream_to_mmdet(upstream_state_dict(), ['a', 'b', 'c'])[0]


def _upstream_bytes():
    args = {'class_names': ['a', 'b', 'c']}
    return _bytes({'model': upstream_state_dict(), 'args': args})


def _upstream_file(path):
    path.write_bytes(_upstream_bytes())
    return path


def _assert_converted(checkpoint):
    assert checkpoint['meta']['dataset_meta']['classes'] == ('a', 'b', 'c')
    expected = _expected()
    assert checkpoint['state_dict'].keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(checkpoint['state_dict'][key], tensor), key


def test_upstream_files_are_converted_by_path(tmp_path):
    _assert_converted(_load(str(_upstream_file(tmp_path / 'a.pth'))))


def test_the_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    _upstream_file(tmp_path / 'a.pth')
    _assert_converted(_load('~/a.pth'))


def test_dinov2_files_fit_a_backbone(tmp_path):
    path = tmp_path / 'dinov2.pth'
    torch.save(meta_dinov2_state_dict(), path)
    assert 'blocks.0.attn.value.bias' in _load(str(path))['state_dict']


def test_other_files_pass_through(tmp_path):
    content = {'state_dict': {'conv.weight': torch.ones(2)}, 'meta': {'a': 1}}
    torch.save(content, tmp_path / 'a.pth')
    read = _load(str(tmp_path / 'a.pth'))
    assert read['meta'] == {'a': 1}
    assert torch.equal(read['state_dict']['conv.weight'], torch.ones(2))
    model = torch.nn.Module()
    model.conv = torch.nn.Linear(2, 1, bias=False)
    torch.save({'conv.weight': torch.full((1, 2), 3.0)}, tmp_path / 'b.pth')
    load_checkpoint(model, str(tmp_path / 'b.pth'))
    assert (model.conv.weight == 3).all()


def test_files_of_our_own_resume_whole(tmp_path):
    content = {
        'state_dict': _expected(),
        'meta': {'epoch': 3, 'iter': 5},
        'optimizer': {'state': {0: {'exp_avg': torch.ones(2)}}},
        'param_schedulers': [{'last_step': 2}],
    }
    torch.save(content, tmp_path / 'a.pth')
    read = _load(str(tmp_path / 'a.pth'))
    assert read.keys() == content.keys() and read['meta'] == content['meta']


@pytest.mark.parametrize('is_zip', [True, False])
@pytest.mark.parametrize('is_remote', [True, False])
def test_hostile_files_do_not_run(tmp_path, server, is_zip, is_remote):
    sentinel = tmp_path / 'sentinel'
    path = tmp_path / 'hostile.pth'
    content = {'state_dict': {}, 'meta': [_TouchOnLoad(sentinel)]}
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    server.files['/hostile.pth'] = path.read_bytes()
    address = f'{server.url}/hostile.pth' if is_remote else str(path)
    with pytest.raises(InputError, match='system'):
        _load(address)
    assert not sentinel.exists()
    path.write_bytes(pickle.dumps(_TouchOnLoad(sentinel)))
    with pytest.raises(InputError):
        _load(str(path))
    assert not sentinel.exists()


def test_missing_and_bad_files_name_the_path(tmp_path):
    with pytest.raises(InputError, match='missing.pth'):
        _load(str(tmp_path / 'missing.pth'))
    weights = upstream_state_dict()
    del weights['query_feat.weight']
    torch.save({'model': weights}, tmp_path / 'a.pth')
    with pytest.raises(InputError, match='a.pth: .*\n.*query_feat.weight'):
        _load(str(tmp_path / 'a.pth'))


@pytest.mark.parametrize('name', ['rf-detr-nano.pth', 'some/rf-detr-nano.pth'])
def test_missing_published_names_get_a_hint(name):
    with pytest.raises(InputError) as error:
        _load(name)
    assert (
        f'no checkpoint file {name}. Did you mean rfdetr://rf-detr-nano'
        in (str(error.value))
    )


def test_web_files_are_converted_and_cached(server):
    server.files['/a.pth'] = _upstream_bytes()
    _assert_converted(_load(f'{server.url}/a.pth'))
    _assert_converted(_load(f'{server.url}/a.pth'))
    assert _paths(server) == ['/a.pth']


def test_equal_names_at_two_addresses_are_two_files(server):
    for folder, value in (('one', 1.0), ('two', 2.0)):
        content = _bytes({'a': torch.tensor(value)})
        server.files[f'/{folder}/x.pth'] = content
    assert _load(f'{server.url}/one/x.pth')['a'] == 1.0
    assert _load(f'{server.url}/two/x.pth')['a'] == 2.0


def test_hashed_names_share_pytorchs_cache(server, tmp_path):
    name = 'model_20260101-0123abcd.pth'
    server.files[f'/{name}'] = _bytes({'a': torch.ones(1)})
    _load(f'{server.url}/{name}')
    assert (tmp_path / 'torch' / 'hub' / 'checkpoints' / name).exists()


@pytest.mark.parametrize('status', [404, None])
def test_a_failed_web_file_leaves_nothing(
    server, tmp_path, monkeypatch, status
):
    monkeypatch.setattr(transfer, '_WAITS_S', (0,))
    server.files['/a.pth'] = b'a' * 1000
    server.plan = [Answer(status=status, cut=10)] * 2
    with pytest.raises(InputError, match='404|stopped at 10 of 1000'):
        _load(f'{server.url}/a.pth')
    left = [p for p in (tmp_path / 'torch').rglob('*') if p.is_file()]
    assert left == []


def test_a_web_page_in_the_cache_says_how_to_get_rid_of_it(server, tmp_path):
    server.files['/a.pth'] = b'<html>please log in</html>'
    for _ in range(2):
        with pytest.raises(InputError, match='a web page') as error:
            _load(f'{server.url}/a.pth')
        assert f'came from {server.url}/a.pth; delete it' in str(error.value)
        (path,) = [p for p in tmp_path.rglob('a.pth')]
        assert str(path) in str(error.value)


def test_a_web_cache_that_cannot_be_written(server, tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'file' / 'torch'))
    with pytest.raises(InputError, match='set TORCH_HOME to another folder'):
        _load(f'{server.url}/a.pth')
    with pytest.raises(InputError, match='or give another folder'):
        loaders.load_from_http(
            f'{server.url}/a.pth', model_dir=str(tmp_path / 'file')
        )
    assert server.requests == []


@pytest.fixture
def published(server, monkeypatch):
    """Two small published files, of which one is licensed."""
    content = _upstream_bytes()
    md5 = hashlib.md5(content).hexdigest()
    for name, licence in (('free.pth', 'Apache-2.0'), ('xl.pth', 'PML-1.0')):
        server.files[f'/remote/{name}'] = content
        file = PublishedFile(name, f'remote/{name}', md5, licence)
        monkeypatch.setitem(PUBLISHED_FILES, name, file)
    monkeypatch.setattr(
        loaders,
        'resolve_weights',
        functools.partial(resolve_weights, base_url=f'{server.url}/'),
    )
    return server


def test_published_files_load_by_name(published, tmp_path):
    for _ in range(2):
        _assert_converted(_load('rfdetr://free.pth'))
    assert _paths(published) == ['/remote/free.pth']
    (tmp_path / 'rfdetr' / 'free.pth').write_bytes(b'changed')
    with pytest.raises(InputError, match='MD5'):
        _load('rfdetr://free.pth')
    with pytest.raises(InputError, match='not a published file'):
        _load('rfdetr://unknown.pth')


def test_a_broken_transfer_of_a_published_file_is_resumed(
    published, monkeypatch
):
    monkeypatch.setattr(transfer, '_WAITS_S', (0,))
    published.plan = [Answer(cut=1000), Answer(status=503)]
    with pytest.raises(InputError, match='kept for another try'):
        _load('rfdetr://free.pth')
    _assert_converted(_load('rfdetr://free.pth'))
    assert published.requests[-1] == ('/remote/free.pth', 'bytes=1000-')


def test_licensed_files_load_with_a_yes(published):
    with pytest.raises(InputError, match='PML-1.0') as error:
        _load('rfdetr://xl.pth')
    yes = 'rfdetr://xl.pth?accept_platform_model_license=1'
    assert yes in str(error.value) and published.requests == []
    _assert_converted(_load(yes))


def test_web_addresses_of_published_files_go_by_name(published, monkeypatch):
    monkeypatch.setattr(
        loaders, 'published_address', lambda url: 'rfdetr://free.pth'
    )
    _assert_converted(_load('https://example.com/free.pth'))


def test_other_schemes_keep_their_loaders():
    schemes = CheckpointLoader._schemes
    for prefix in (
        r'(\S+\:)?s3://',
        r'(\S+\:)?petrel://',
        'torchvision://',
        'openmmlab://',
        'mmcls://',
    ):
        assert schemes[prefix].__module__ == 'mmengine.runner.checkpoint'
    for prefix in ('', 'http://', 'https://', 'rfdetr://'):
        assert schemes[prefix].__module__ == loaders.__name__


def test_every_rank_finds_the_file_that_rank_0_fetched(tmp_path, monkeypatch):
    for rank, expected in ((0, ['fetch', 'wait']), (1, ['wait', 'fetch'])):
        events = []
        monkeypatch.setattr(loaders, 'get_rank', lambda rank=rank: rank)
        monkeypatch.setattr(
            loaders, 'barrier', lambda events=events: events.append('wait')
        )

        def fetch(events=events):
            events.append('fetch')
            return tmp_path

        assert loaders._on_rank_0_first(fetch) == tmp_path
        assert events == expected


def test_a_failure_on_rank_0_does_not_leave_the_others_waiting(monkeypatch):
    waited = []
    monkeypatch.setattr(loaders, 'barrier', lambda: waited.append(True))

    def fetch():
        raise ConnectionError('offline')

    with pytest.raises(ConnectionError):
        loaders._on_rank_0_first(fetch)
    assert waited == [True]
