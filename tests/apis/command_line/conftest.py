"""A tiny Nano as checkpoint file, images, and the command in this process."""

import pytest
import torch

from rfdetr_mm.apis import RFDETRNano
from rfdetr_mm.apis.command_line import benchmark, export, main, train, val
from tests.data_factory import CLASSES, write_coco

SIZES = [(60, 90), (90, 60), (50, 50)]


@pytest.fixture(scope='session')
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp('cli') / 'set'
    return write_coco(folder, SIZES) / 'images'


@pytest.fixture(scope='session')
def tiny_nano():
    torch.manual_seed(0)
    model = RFDETRNano(
        pretrain_weights=None,
        num_classes=2,
        resolution=64,
        num_queries=8,
        num_select=8,
        group_detr=2,
        device='cpu',
    )
    for parameter in model.model.model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    return model


@pytest.fixture(scope='session')
def checkpoint(tiny_nano, tmp_path_factory):
    meta = dict(
        cfg=tiny_nano.model.cfg.pretty_text,
        dataset_meta=dict(classes=CLASSES),
    )
    path = tmp_path_factory.mktemp('cli') / 'tiny.pth'
    weights = tiny_nano.model.model.state_dict()
    torch.save(dict(state_dict=weights, meta=meta), path)
    return str(path)


@pytest.fixture
def loaded(tiny_nano, monkeypatch):
    """The tiny model in place of what --model and --weights name."""
    for module in (train, val, export, benchmark):
        monkeypatch.setattr(
            module, 'load_model', lambda args, **options: tiny_nano
        )


@pytest.fixture
def command(capsys):
    """Run the command; exit code, what it printed, its errors."""

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            code = stopped.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Where nothing is in the cache folder, and a download says so."""

    def fail(*given, **options):
        raise ConnectionError('the file could not be downloaded.')

    monkeypatch.setenv('RF_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr('rfdetr_mm.checkpoints.published.download', fail)
