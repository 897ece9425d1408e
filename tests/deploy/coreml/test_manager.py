"""Core ML within mmdeploy: names, wrong input, a missing package."""

import pytest
from mmdeploy.backend.base import get_backend_manager
from mmdeploy.utils import get_backend
from mmengine.config import Config

import rfdetr_mm.deploy  # noqa: F401
from rfdetr_mm.deploy import missing_package
from rfdetr_mm.deploy.coreml.manager import CoreMLManager
from rfdetr_mm.errors import InputError


def deploy_cfg(**backend):
    return Config(
        dict(
            backend_config=dict(type='coreml', **backend),
            ir_config=dict(output_names=['dets', 'labels']),
        )
    )


def test_ours_replaces_that_of_mmdeploy():
    assert get_backend_manager('coreml') is CoreMLManager
    assert get_backend(deploy_cfg()).value == 'coreml'


def test_wrong_input_leaves_nothing(tmp_path):
    pytest.importorskip('coremltools')
    with pytest.raises(InputError, match="one of .*got 'int8'"):
        CoreMLManager.to_backend(
            ['end2end.pt'], str(tmp_path), deploy_cfg(precision='int8')
        )
    assert not list(tmp_path.iterdir())


def test_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(
        missing_package.importlib.util, 'find_spec', lambda name: None
    )
    assert CoreMLManager.get_version() == 'None'
    with pytest.raises(InputError, match=r"'rfdetr_mm\[coreml\]'"):
        CoreMLManager.to_backend(['a.pt'], str(tmp_path), deploy_cfg())


def test_files_are_not_run_here():
    with pytest.raises(InputError, match='for devices of Apple'):
        CoreMLManager.load('a.mlpackage', None, 'cpu')
