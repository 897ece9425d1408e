import hashlib
import http.server
import threading

import pytest

from rfdetr_mm.checkpoints import (
    PUBLISHED_FILES,
    PublishedFile,
    cache_dir,
    download,
    file_md5,
    published_address,
    resolve_weights,
)
from rfdetr_mm.checkpoints.published import BASE_URL

_CONTENT = b'weights' * 1000
_MD5 = hashlib.md5(_CONTENT).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        if self.path.startswith('/missing'):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header('Content-Length', str(len(_CONTENT)))
        self.end_headers()
        is_cut = self.path.startswith('/cut')
        self.wfile.write(_CONTENT[:100] if is_cut else _CONTENT)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), _Handler)
    server.requests = []
    server.url = f'http://127.0.0.1:{server.server_port}/'
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


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


def test_a_file_is_downloaded_once(server, one_file, tmp_path):
    path = resolve_weights('free.pth', folder=tmp_path, base_url=server.url)
    assert path == tmp_path / 'free.pth' and path.read_bytes() == _CONTENT
    assert resolve_weights('rfdetr://free.pth', folder=tmp_path) == path
    assert server.requests == ['/remote/free.pth']
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('kind', ['cut/', 'missing/'])
def test_a_failed_transfer_leaves_nothing(server, one_file, tmp_path, kind):
    with pytest.raises(ConnectionError) as error:
        resolve_weights(
            'free.pth', folder=tmp_path, base_url=server.url + kind
        )
    for part in (server.url, str(tmp_path / 'free.pth'), _MD5):
        assert part in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_no_network_says_what_to_put_where(one_file, tmp_path):
    with pytest.raises(ConnectionError, match='Without a network') as error:
        resolve_weights(
            'free.pth', folder=tmp_path, base_url='http://127.0.0.1:9/'
        )
    assert str(tmp_path / 'free.pth') in str(error.value)


def test_wrong_content_is_refused_and_removed(server, tmp_path):
    with pytest.raises(ValueError, match=f'MD5 {_MD5}, expected 0000'):
        download(server.url + 'a', tmp_path / 'a.pth', '0000')
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_download_leaves_nothing(server, tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr('shutil.copyfileobj', interrupt)
    with pytest.raises(KeyboardInterrupt):
        download(server.url + 'a', tmp_path / 'a.pth')
    assert list(tmp_path.iterdir()) == []


def test_a_changed_cached_file_is_reported_and_kept(one_file, tmp_path):
    path = tmp_path / 'free.pth'
    path.write_bytes(b'my own file')
    with pytest.raises(ValueError, match='Delete it') as error:
        resolve_weights('free.pth', folder=tmp_path)
    assert file_md5(path) in str(error.value) and _MD5 in str(error.value)
    assert path.read_bytes() == b'my own file'


@pytest.mark.parametrize('query', ['', '?accept_platform_model_license=0'])
def test_licensed_files_want_a_yes(server, one_file, tmp_path, query):
    with pytest.raises(ValueError, match='PML-1.0') as error:
        resolve_weights(
            f'rfdetr://xl.pth{query}', folder=tmp_path, base_url=server.url
        )
    assert 'rfdetr://xl.pth?accept_platform_model_license=1' in str(
        error.value
    )
    assert server.requests == []
    # A file that is already there is under the same licence.
    (tmp_path / 'xl.pth').write_bytes(_CONTENT)
    with pytest.raises(ValueError, match='PML-1.0'):
        resolve_weights('xl.pth', folder=tmp_path)


@pytest.mark.parametrize(
    'name, options',
    [
        ('rfdetr://xl.pth?accept_platform_model_license=1', {}),
        ('rfdetr://xl.pth?accept_platform_model_license=True', {}),
        ('xl.pth', {'accept_platform_model_license': True}),
    ],
)
def test_licensed_files_come_with_a_yes(
    server, one_file, tmp_path, name, options
):
    path = resolve_weights(
        name, folder=tmp_path, base_url=server.url, **options
    )
    assert path.read_bytes() == _CONTENT


def test_unknown_names_and_options():
    with pytest.raises(ValueError, match='Did you mean rf-detr-nano.pth'):
        resolve_weights('rfdetr://rf-detr-nan.pth')
    with pytest.raises(ValueError, match='rf-detr-seg-xxlarge.pt'):
        resolve_weights('../../etc/passwd')
    with pytest.raises(ValueError, match="unknown option 'licence'"):
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
