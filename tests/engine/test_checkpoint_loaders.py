import http.server
import os
import pickle
import threading

import pytest
import torch
from checkpoint_factory import meta_dinov2_state_dict, upstream_state_dict
from mmengine.runner import CheckpointLoader, load_checkpoint

import rfdetr_mm.engine.checkpoint_loaders as loaders
from rfdetr_mm.checkpoints import (
    PUBLISHED_FILES,
    PublishedFile,
    file_md5,
    upstream_to_mmdet,
)


class _TouchOnLoad:
    def __init__(self, sentinel):
        self.sentinel = sentinel

    def __reduce__(self):
        return os.system, (f'touch {self.sentinel}',)


@pytest.fixture
def site(tmp_path):
    """A web server on a folder that counts its requests."""
    folder = tmp_path / 'site'
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(folder), **kwargs)

        def do_GET(self):
            self.server.paths.append(self.path)
            super().do_GET()

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.paths, server.folder = [], folder
    server.url = f'http://127.0.0.1:{server.server_port}'
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def own_caches(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('RF_HOME', str(tmp_path / 'rfdetr'))


def _load(address):
    return CheckpointLoader.load_checkpoint(address, map_location='cpu')


def _expected():
    return upstream_to_mmdet(upstream_state_dict(), ['a', 'b', 'c'])[0]


def _upstream_file(path):
    args = {'class_names': ['a', 'b', 'c']}
    torch.save({'model': upstream_state_dict(), 'args': args}, path)
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
def test_hostile_files_do_not_run(tmp_path, site, is_zip, is_remote):
    sentinel = tmp_path / 'sentinel'
    path = site.folder / 'hostile.pth'
    content = {'state_dict': {}, 'meta': [_TouchOnLoad(sentinel)]}
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    address = f'{site.url}/hostile.pth' if is_remote else str(path)
    with pytest.raises(ValueError, match='system'):
        _load(address)
    assert not sentinel.exists()
    path.write_bytes(pickle.dumps(_TouchOnLoad(sentinel)))
    with pytest.raises(ValueError):
        _load(str(path))
    assert not sentinel.exists()


def test_missing_and_bad_files_name_the_path(tmp_path):
    with pytest.raises(FileNotFoundError, match='missing.pth'):
        _load(str(tmp_path / 'missing.pth'))
    weights = upstream_state_dict()
    del weights['query_feat.weight']
    torch.save({'model': weights}, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='a.pth: .*\n.*query_feat.weight'):
        _load(str(tmp_path / 'a.pth'))


def test_web_files_are_converted_and_cached(site, tmp_path):
    _upstream_file(site.folder / 'a.pth')
    _assert_converted(_load(f'{site.url}/a.pth'))
    _assert_converted(_load(f'{site.url}/a.pth'))
    assert site.paths == ['/a.pth']


def test_equal_names_at_two_addresses_are_two_files(site):
    for folder, value in (('one', 1.0), ('two', 2.0)):
        (site.folder / folder).mkdir()
        torch.save({'a': torch.tensor(value)}, site.folder / folder / 'x.pth')
    assert _load(f'{site.url}/one/x.pth')['a'] == 1.0
    assert _load(f'{site.url}/two/x.pth')['a'] == 2.0


def test_hashed_names_share_pytorchs_cache(site, tmp_path):
    name = 'model_20260101-0123abcd.pth'
    torch.save({'a': torch.ones(1)}, site.folder / name)
    _load(f'{site.url}/{name}')
    assert (tmp_path / 'torch' / 'hub' / 'checkpoints' / name).exists()


def test_a_missing_web_file_leaves_nothing(site, tmp_path):
    with pytest.raises(ConnectionError, match='404'):
        _load(f'{site.url}/a.pth')
    left = [p for p in (tmp_path / 'torch').rglob('*') if p.is_file()]
    assert left == []


@pytest.fixture
def published(tmp_path, monkeypatch):
    folder = tmp_path / 'rfdetr'
    folder.mkdir()
    path = _upstream_file(folder / 'free.pth')
    file = PublishedFile('free.pth', 'remote/free.pth', file_md5(path))
    monkeypatch.setitem(PUBLISHED_FILES, 'free.pth', file)
    return path


def test_published_files_load_by_name(published):
    _assert_converted(_load('rfdetr://free.pth'))
    published.write_bytes(b'changed')
    with pytest.raises(ValueError, match='MD5'):
        _load('rfdetr://free.pth')
    with pytest.raises(ValueError, match='not a published file'):
        _load('rfdetr://unknown.pth')


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
