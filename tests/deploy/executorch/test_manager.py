"""ExecuTorch within mmdeploy: names, wrong input, a missing package."""

import pickle
import subprocess
import sys

import pytest
from mmdeploy.backend.base import get_backend_manager
from mmdeploy.utils import Backend, get_backend
from mmengine.config import Config

import rfdetr_mm.deploy  # noqa: F401
from rfdetr_mm.deploy import missing_package
from rfdetr_mm.deploy.executorch.manager import ExecuTorchManager
from rfdetr_mm.deploy.executorch.wrapper import ExecuTorchWrapper
from rfdetr_mm.errors import InputError


def deploy_cfg(**backend):
    return Config(
        dict(
            backend_config=dict(type='executorch', **backend),
            ir_config=dict(output_names=['dets', 'labels']),
        )
    )


def test_mmdeploy_finds_the_backend():
    assert get_backend_manager('executorch') is ExecuTorchManager
    assert get_backend(deploy_cfg()).value == 'executorch'


def test_a_fresh_process_can_read_the_name_of_the_backend():
    pickled = pickle.dumps(Backend.get('executorch'))
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
    assert done.stdout.split()[-1] == 'executorch'


@pytest.mark.parametrize(
    ('precision', 'message'),
    [
        ('int4', "one of .*got 'int4'"),
        ('int8', "one of .*got 'int8'"),
    ],
)
def test_wrong_input_leaves_nothing(tmp_path, precision, message):
    pytest.importorskip('executorch')
    with pytest.raises(InputError, match=message):
        ExecuTorchManager.to_backend(
            ['end2end.pt'], str(tmp_path), deploy_cfg(precision=precision)
        )
    assert not list(tmp_path.iterdir())


def test_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(
        missing_package.importlib.util, 'find_spec', lambda name: None
    )
    assert ExecuTorchManager.get_version() == 'None'
    with pytest.raises(InputError, match=r"'rfdetr_mm\[executorch\]'"):
        ExecuTorchManager.to_backend(['a.pt'], str(tmp_path), deploy_cfg())
    for module in ('executorch', 'executorch.runtime'):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"'rfdetr_mm\[executorch\]'"):
        ExecuTorchWrapper('a.pte')
