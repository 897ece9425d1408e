"""A tiny model and images, as files, and the demos as modules."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules

from tests.data_factory import CLASSES, write_coco
from tests.tiny_config import tiny_config

DEMO = Path(__file__).parents[2] / 'demo'


@pytest.fixture(scope='session')
def tiny(tmp_path_factory):
    """Paths of a config, of weights, of a checkpoint and of images."""
    register_all_modules(init_default_scope=True)
    folder = tmp_path_factory.mktemp('tiny')
    root = write_coco(folder / 'set', [(60, 90), (90, 60)])
    found = {}
    for name in ('rfdetr/rfdetr', 'rfdetr_seg/rfdetr-seg'):
        cfg = tiny_config(root, f'{name}_nano_coco.py')
        config = folder / f'{Path(name).name}.py'
        cfg.dump(config)
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
        meta = dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=CLASSES))
        weights = folder / f'{Path(name).name}.pth'
        torch.save(dict(state_dict=model.state_dict(), meta=meta), weights)
        found[Path(name).name] = (str(config), str(weights))
    return SimpleNamespace(
        box=found['rfdetr'],
        mask=found['rfdetr-seg'],
        images=root / 'images',
        num_classes=len(CLASSES),
    )


@pytest.fixture
def demo(monkeypatch):
    """Import a script of demo/ as Python runs it."""

    def load(name):
        monkeypatch.syspath_prepend(DEMO)
        monkeypatch.setattr(sys, 'argv', [f'{name}.py'])
        for module in ('model_options', 'image_demo'):
            sys.modules.pop(module, None)
        spec = importlib.util.spec_from_file_location(
            name, DEMO / f'{name}.py'
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
