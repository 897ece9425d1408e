"""ncnn within mmdeploy: names, wrong input, a missing package."""

import sys

import pytest
from mmdeploy.backend.base import BACKEND_WRAPPER, get_backend_manager
from mmdeploy.core import FUNCTION_REWRITER
from mmdeploy.core.rewriters.rewriter_utils import collect_env
from mmdeploy.utils import IR, Backend, get_backend
from mmengine.config import Config

import rfdetr_mm.deploy  # noqa: F401
from rfdetr_mm.deploy import missing_package
from rfdetr_mm.deploy.ncnn.manager import NCNNManager
from rfdetr_mm.deploy.ncnn.wrapper import NCNNWrapper
from rfdetr_mm.errors import InputError


def deploy_cfg(**backend):
    return Config(
        dict(
            backend_config=dict(type='ncnn', **backend),
            ir_config=dict(output_names=['dets', 'labels']),
        )
    )


def test_ours_replaces_that_of_mmdeploy():
    assert get_backend_manager('ncnn') is NCNNManager
    assert get_backend(deploy_cfg()).value == 'ncnn'
    assert BACKEND_WRAPPER.get('ncnn') is NCNNWrapper


def test_functions_of_torch_stay_as_they_are():
    def replaced(backend):
        env = collect_env(backend, IR.TORCHSCRIPT)
        return {
            name for name, _ in FUNCTION_REWRITER._registry.get_records(env)
        }

    assert 'torch.jit.trace' in replaced(Backend.NCNN)
    ours = {'torch.Tensor.expand', 'torch.flatten', 'torch.Tensor.size'}
    assert not ours & replaced(Backend.NCNN)
    assert 'torch.flatten' in replaced(Backend.COREML)


def test_wrong_input_leaves_nothing(tmp_path):
    pytest.importorskip('pnnx')
    with pytest.raises(InputError, match="one of .*got 'int8'"):
        NCNNManager.to_backend(
            ['end2end.pt'], str(tmp_path), deploy_cfg(precision='int8')
        )
    assert not list(tmp_path.iterdir())


def test_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(
        missing_package.importlib.util, 'find_spec', lambda name: None
    )
    assert NCNNManager.get_version() == 'None'
    with pytest.raises(InputError, match=r"'rfdetr_mm\[ncnn-export\]'"):
        NCNNManager.to_backend(['a.pt'], str(tmp_path), deploy_cfg())
    monkeypatch.setitem(sys.modules, 'ncnn', None)
    with pytest.raises(InputError, match=r"'rfdetr_mm\[ncnn\]'"):
        NCNNWrapper('a.ncnn')
