"""TFLite within mmdeploy: names, spawned processes, wrong input."""

import pickle
import subprocess
import sys

import pytest
from mmdeploy.backend.base import get_backend_manager
from mmdeploy.utils import Backend, get_backend
from mmengine.config import Config

import rfdetr_mm.deploy  # noqa: F401
from rfdetr_mm.deploy import missing_package
from rfdetr_mm.deploy.tflite.manager import TFLiteManager
from rfdetr_mm.deploy.tflite.wrapper import TFLiteWrapper
from rfdetr_mm.errors import InputError


def deploy_cfg(**backend):
    return Config(
        dict(
            backend_config=dict(type='tflite', **backend),
            ir_config=dict(output_names=['dets', 'labels']),
        )
    )


def test_mmdeploy_finds_the_backend():
    assert get_backend_manager('tflite') is TFLiteManager
    assert get_backend(deploy_cfg()).value == 'tflite'


def test_a_fresh_process_can_read_the_name_of_the_backend():
    pickled = pickle.dumps(Backend.get('tflite'))
    code = (
        'import sys, pickle; '
        'print(pickle.loads(bytes.fromhex(sys.argv[1])).value)'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code, pickled.hex()],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == 'tflite'


@pytest.mark.parametrize(
    ('backend', 'message'),
    [
        (dict(precision='int4'), "one of .*got 'int4'"),
        (dict(precision='int8'), 'needs images to calibrate with'),
    ],
)
def test_wrong_input_leaves_nothing(tmp_path, backend, message):
    pytest.importorskip('litert_torch')
    with pytest.raises(InputError, match=message):
        TFLiteManager.to_backend(
            ['end2end.pt'], str(tmp_path), deploy_cfg(**backend)
        )
    assert not list(tmp_path.iterdir())


def test_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(
        missing_package.importlib.util, 'find_spec', lambda name: None
    )
    assert TFLiteManager.get_version() == 'None'
    with pytest.raises(InputError, match=r"'rfdetr_mm\[tflite-export\]'"):
        TFLiteManager.to_backend(['a.pt'], str(tmp_path), deploy_cfg())
    for module in ('ai_edge_litert', 'ai_edge_litert.interpreter'):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"'rfdetr_mm\[tflite\]'"):
        TFLiteWrapper('a.tflite')


def test_a_file_that_is_none_is_refused(tmp_path):
    pytest.importorskip('ai_edge_litert')
    broken = tmp_path / 'broken.tflite'
    broken.write_bytes(b'no model')
    for file in (broken, tmp_path / 'missing.tflite'):
        with pytest.raises(InputError, match='cannot be read'):
            TFLiteWrapper(str(file))
