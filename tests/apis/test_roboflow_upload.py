import contextlib
import http.server
import io
import json
import sys
import threading
import zipfile

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from rfdetr_mm.apis import RFDETRNano
from rfdetr_mm.apis.roboflow_upload import (
    deploy_to_roboflow,
    write_roboflow_bundle,
)
from rfdetr_mm.checkpoints import read_checkpoint, to_mmdet_checkpoint
from rfdetr_mm.models import WindowedDINOv2
from tests.small_detector import CONFIG

NAMES = ('cat', 'dog', 'two words')
KEY = 'key-of-a-test'
FULL_WIDTH = WindowedDINOv2.arch_settings['small']
PLACE = dict(workspace='ours', project_id='pets', version=3)


class Roboflow(http.server.ThreadingHTTPServer):
    """Answers as Roboflow does where the client asks for an upload."""

    daemon_threads = True

    def __init__(self):
        super().__init__(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.server_port}'
        self.asked = []
        self.uploads = {}
        self.refused = None

    def answer(self, path):
        project = dict(
            {k: {} for k in ('annotation', 'classes', 'colors', 'splits')},
            id='ours/pets',
            name='pets',
            type='object-detection',
            public=False,
            images=1,
            unannotated=0,
            created=0,
            updated=0,
        )
        version = dict(
            {k: {} for k in ('augmentation', 'preprocessing', 'splits')},
            id='ours/pets/3',
            created=0,
            images=1,
        )
        place = dict(name='Ours', url='ours', projects=[project], members=1)
        return {
            '/': dict(workspace='ours'),
            '/ours': dict(workspace=place),
            '/ours/pets': dict(project=project, versions=[version]),
            '/ours/pets/3/uploadModel': dict(url=f'{self.url}/bucket'),
        }.get(path)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path, _, query = self.path.partition('?')
        self.server.asked.append((path, query))
        answer = self.server.answer(path)
        if answer is None or f'api_key={KEY}' not in query:
            return self.send(401 if answer else 404, {'error': 'no'})
        if path == self.server.refused:
            return self.send(500, {'error': 'broken'})
        return self.send(200, answer)

    do_POST = do_GET

    def do_PUT(self):
        length = int(self.headers['Content-Length'])
        self.server.uploads[self.path] = self.rfile.read(length)
        self.send(507 if self.path == self.server.refused else 200, {})

    def send(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def without_modules(name):
    """Import a package anew, then forget it."""

    def taken():
        names = [m for m in sys.modules if m.split('.')[0] == name]
        return {m: sys.modules.pop(m) for m in names}

    before = taken()
    try:
        yield
    finally:
        taken()
        sys.modules.update(before)


@pytest.fixture
def roboflow(monkeypatch, tmp_path):
    pytest.importorskip('roboflow')
    server = Roboflow()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv('API_URL', server.url)  # read when it is imported
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.delenv('ROBOFLOW_API_KEY', raising=False)
    with without_modules('roboflow'):
        yield server
    server.shutdown()
    thread.join()
    server.server_close()


def nano_config():
    """Nano but for fewer queries."""
    config = Config.fromfile(CONFIG)
    config.model.bbox_head.update(num_classes=3, num_queries=6, num_groups=2)
    config.model.test_cfg.max_per_img = 6
    return config


def build(config):
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    for parameter in model.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope='module')
def config():
    """With a backbone of 1 % of the numbers: zipping takes its time."""
    narrow = dict(embed_dims=24, num_heads=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(WindowedDINOv2.arch_settings, 'small', narrow)
        config = nano_config()
        config.model.neck.in_channels = [24] * 4
        yield config


@pytest.fixture(scope='module')
def model(config):
    return build(config)


def deploy(model, config, **options):
    deploy_to_roboflow(model, NAMES, config, **{**PLACE, **options})


def test_what_is_uploaded(model, config, roboflow, tmp_path):
    deploy(model, config, api_key=KEY, size='rfdetr-nano')
    path, query = roboflow.asked[-1]
    assert path == '/ours/pets/3/uploadModel'
    assert 'modelType=rfdetr-nano' in query
    (archive,) = roboflow.uploads.values()
    assert list(roboflow.uploads) == ['/bucket']
    with zipfile.ZipFile(io.BytesIO(archive)) as content:
        assert set(content.namelist()) == {'weights.pt', 'class_names.txt'}
        content.extractall(tmp_path)
    names = (tmp_path / 'class_names.txt').read_text().splitlines()
    assert tuple(names[-3:]) == NAMES  # the client adds a row before them

    content = read_checkpoint(tmp_path / 'weights.pt')
    assert content['model_name'] == 'RFDETRNano'
    assert content['args']['class_names'] == list(NAMES)
    assert_equal_weights(content['model'], model)


def assert_equal_weights(theirs, model):
    ours, _ = to_mmdet_checkpoint(dict(model=theirs))
    for key, value in model.state_dict().items():
        assert torch.equal(ours['state_dict'][key][: len(value)], value), key


@pytest.mark.slow  # zips 120 MB
def test_rfdetr_loads_what_is_uploaded(roboflow, tmp_path, monkeypatch):
    """By the method of the upstream-style class."""
    rfdetr = pytest.importorskip('rfdetr')
    monkeypatch.setitem(WindowedDINOv2.arch_settings, 'small', FULL_WIDTH)
    ours = RFDETRNano(
        pretrain_weights=None,
        num_classes=3,
        num_queries=6,
        num_select=6,
        group_detr=2,
        device='cpu',
    )
    ours.model.class_names = list(NAMES)
    ours.deploy_to_roboflow(**PLACE, api_key=KEY)
    assert 'modelType=rfdetr-nano' in roboflow.asked[-1][1]
    with zipfile.ZipFile(io.BytesIO(roboflow.uploads['/bucket'])) as content:
        content.extractall(tmp_path)
    theirs = rfdetr.RFDETR.from_checkpoint(
        str(tmp_path / 'weights.pt'), device='cpu'
    )
    assert type(theirs).__name__ == 'RFDETRNano'
    assert tuple(theirs.class_names) == NAMES
    assert_equal_weights(theirs.model.model.state_dict(), ours.model.model)

    ours.export_for_roboflow(tmp_path / 'bundle')
    bundle = read_checkpoint(tmp_path / 'bundle' / 'weights.pt')
    assert bundle['args']['class_names'] == list(NAMES)


def test_the_key_may_be_in_the_environment(
    model, config, roboflow, monkeypatch
):
    monkeypatch.setenv('ROBOFLOW_API_KEY', KEY)
    deploy(model, config, size='rfdetr-nano')
    assert roboflow.uploads


@pytest.mark.parametrize(
    'options, error, message',
    [
        (dict(size='rfdetr-nano'), ValueError, 'api_key=…'),
        (dict(size='rfdetr-nano', api_key=''), ValueError, 'ROBOFLOW_API_KEY'),
        (dict(api_key=KEY), ValueError, 'size=…'),
        (dict(api_key='wrong', size='rfdetr-nano'), RuntimeError, 'no'),
        (dict(api_key=KEY, size='rfdetr-nano', version=4), RuntimeError, '4'),
    ],
)
def test_errors_come_before_an_upload(
    model, config, roboflow, options, error, message
):
    with pytest.raises(error, match=message):
        deploy(model, config, **options)
    assert not roboflow.uploads


@pytest.mark.parametrize('path', ['/ours/pets/3/uploadModel', '/bucket'])
def test_a_failed_upload_is_an_error(model, config, roboflow, path, capsys):
    roboflow.refused = path
    with pytest.raises(RuntimeError, match='not uploaded.*50[07]'):
        deploy(model, config, api_key=KEY, size='rfdetr-nano')
    assert 'An error occured' in capsys.readouterr().out


def test_the_bundle_alone(model, config, tmp_path):
    folder = tmp_path / 'new' / 'bundle'
    write_roboflow_bundle(folder, model, NAMES, config)
    content = read_checkpoint(folder / 'weights.pt')
    assert content['args']['class_names'] == list(NAMES)
    assert content['args']['resolution'] == 384
    assert content['args']['segmentation_head'] is False
    assert (folder / 'class_names.txt').read_text() == 'cat\ndog\ntwo words\n'
    with pytest.raises(ValueError):
        write_roboflow_bundle(folder, model, NAMES[:2], config)
