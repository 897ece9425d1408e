"""Configs and models by the package's name, in a clone that has ``.mim``."""

import subprocess
import sys
from pathlib import Path

import mmdet.registry
import mmengine.registry
import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmengine.config import Config
from mmengine.hub import get_config, get_model
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope, Registry
from mmengine.runner import CheckpointLoader

from rfdetr_mm.models import RFDETR
from rfdetr_mm.registry import link_shipped_files

ROOT = Path(__file__).parents[1]
NAME = 'rfdetr_mm::rfdetr/rfdetr_nano_coco.py'
REGISTRIES = [
    name
    for name, value in vars(mmengine.registry).items()
    if isinstance(value, Registry)
]


@pytest.fixture(scope='module', autouse=True)
def links():
    subprocess.run(
        [sys.executable, 'setup.py', '-q', 'link_mim'], cwd=ROOT, check=True
    )


def without_scope(node):
    if isinstance(node, dict):
        return {
            key: without_scope(value)
            for key, value in node.items()
            if key != '_scope_'
        }
    if isinstance(node, (list, tuple)):
        return type(node)(without_scope(value) for value in node)
    return node


@pytest.fixture
def derived(tmp_path):
    """A config of a user's, outside the clone."""
    (tmp_path / 'mine.py').write_text(
        f'_base_ = {NAME!r}\nmodel = dict(bbox_head=dict(num_classes=3))\n'
    )
    return Config.fromfile(tmp_path / 'mine.py')


def test_a_config_inherits_by_the_packages_name(derived):
    direct = Config.fromfile(ROOT / 'configs/rfdetr/rfdetr_nano_coco.py')
    direct.model.bbox_head.num_classes = 3
    assert derived.model['_scope_'] == 'rfdetr_mm'
    assert without_scope(derived.to_dict()) == direct.to_dict()


def test_what_was_inherited_can_be_built(derived):
    with torch.device('meta'):
        # As a Runner does: mmengine's registry, mmdet's scope.
        model = mmengine.registry.MODELS.build(derived.model)
    assert type(model) is RFDETR and model.bbox_head.num_classes == 3
    assert isinstance(model.data_preprocessor, DetDataPreprocessor)
    wrapper = build_optim_wrapper(model, derived.optim_wrapper)
    assert len(wrapper.optimizer.param_groups) > 20
    dataset = derived.train_dataloader.dataset
    dataset.lazy_init = True
    names = [
        type(step).__name__
        for step in mmengine.registry.DATASETS.build(
            dataset
        ).pipeline.transforms
    ]
    assert 'RFDETRResize' in names and 'PackDetInputs' in names
    for hook in derived.custom_hooks:
        assert mmengine.registry.HOOKS.build(hook) is not None
    evaluator = dict(derived.val_evaluator, ann_file=None)
    assert mmengine.registry.METRICS.build(evaluator).metrics == ['bbox']


@pytest.mark.parametrize('name', REGISTRIES)
def test_every_registry_has_the_scope(name):
    root = getattr(mmengine.registry, name)
    with root.switch_scope_and_registry('rfdetr_mm') as registry:
        assert registry.scope == 'rfdetr_mm'
        assert registry.parent is getattr(mmdet.registry, name, root)
        assert not registry._module_dict


def test_configs_by_name():
    cfg = get_config(NAME, pretrained=True)
    assert cfg.model_path == 'rfdetr://rf-detr-nano.pth'
    assert cfg.model.type == 'RFDETR'
    assert get_config('rfdetr_mm::_base_/default_runtime.py').log_level
    with pytest.raises(FileNotFoundError, match='rfdetr_tiny_coco.py'):
        get_config('rfdetr_mm::rfdetr/rfdetr_tiny_coco.py')


def test_models_by_name(monkeypatch):
    asked = []

    def load(filename, map_location=None):
        asked.append(filename)
        return {'state_dict': weights}

    monkeypatch.setitem(CheckpointLoader._schemes, 'rfdetr://', load)
    plain = get_model(NAME)
    weights = {key: v + 1 for key, v in plain.state_dict().items()}
    scope = DefaultScope.get_current_instance().scope_name
    loaded = get_model(NAME, pretrained=True)
    assert asked == ['rfdetr://rf-detr-nano.pth']
    state = loaded.state_dict()
    assert all(torch.equal(state[key], v) for key, v in weights.items())
    assert DefaultScope.get_current_instance().scope_name == scope == 'mmdet'


@pytest.mark.parametrize('is_clone', [True, False])
def test_a_clone_gets_links_and_keeps_what_it_has(tmp_path, is_clone):
    package = tmp_path / 'clone' / 'rfdetr_mm'
    package.mkdir(parents=True)
    for name in ('benchmarks', 'configs', 'demo', 'tools'):
        (package.parent / name).mkdir()
    (package.parent / 'model-index.yml').write_text('Import: []')
    if is_clone:
        (package.parent / 'setup.py').write_text('')
    link_shipped_files(package)
    assert (package / '.mim').is_dir() == is_clone
    assert [p.name for p in package.iterdir()] == ['.mim'] * is_clone
    if is_clone:
        assert (package / '.mim/model-index.yml').read_text()
        (package / '.mim/model-index.yml').unlink()
        link_shipped_files(package)  # an installation's content stays
        assert not (package / '.mim/model-index.yml').exists()
