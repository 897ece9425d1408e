"""docs/coming_from_rfdetr.md: its examples run, its arguments exist."""

import dataclasses
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rfdetr_mm import apis
from rfdetr_mm.apis.elsewhere import DEPRECATED, ELSEWHERE
from rfdetr_mm.apis.model_config import ModelConfig
from rfdetr_mm.apis.train_config import TrainConfig
from tests.data_factory import write_layout

TEXT = (Path(__file__).parents[2] / 'docs/coming_from_rfdetr.md').read_text()
MODEL = {field.name for field in dataclasses.fields(ModelConfig)}
TRAIN = {field.name for field in dataclasses.fields(TrainConfig)}


def section(title):
    return TEXT.split(f'## {title}\n')[1].split('\n## ')[0]


def first_column(title):
    """Names in backticks in the first column of a section's table."""
    rows = re.findall(r'^\| (.*?) \|', section(title), re.M)
    return [name for row in rows for name in re.findall(r'`(\w+)', row)]


def test_arguments_of_a_class():
    assert first_column('Arguments of a class') == list(
        dict.fromkeys(first_column('Arguments of a class'))
    )
    assert set(first_column('Arguments of a class')) == MODEL


def test_arguments_of_train():
    own = {'resolution', 'device', 'lr_scheduler_kwargs'}
    assert set(first_column('Arguments of train()')) == TRAIN | own
    ignored = section('Arguments of train()').split('Ignored with')[1]
    assert set(re.findall(r'`(\w+)`', ignored)) == set(DEPRECATED)
    elsewhere = first_column('Arguments of train() that are elsewhere')
    assert sorted(elsewhere) == sorted(ELSEWHERE)


@pytest.mark.parity
def test_every_argument_of_rfdetr_is_there():
    config = pytest.importorskip('rfdetr.config')
    known = {*TRAIN, *DEPRECATED, *ELSEWHERE, 'lr_scheduler_kwargs'}
    assert set(config.TrainConfig.model_fields) <= known


@pytest.mark.parity
def test_defaults_that_are_not_rfdetrs_are_marked():
    config = pytest.importorskip('rfdetr.config')
    described = TrainConfig.__doc__.split('Args:')[1]
    own, marked = TrainConfig(), set()
    for name, field in config.TrainConfig.model_fields.items():
        if name not in TRAIN or field.is_required():
            continue
        default = field.get_default(call_default_factory=True)
        if default != getattr(own, name):
            text = re.search(rf'{name}: (.*?)\n {{8}}\w', described, re.S)
            assert 'here' in text.group(1), name
            marked.add(name)
    assert 'early_stopping_use_ema' in marked


def test_classes_and_methods():
    # But for a variable of the environment
    names = set(first_column('Classes')) - {'LOG_LEVEL'}
    assert names <= set(apis.__all__)
    for name in set(first_column('Methods')) - {'model'}:
        assert hasattr(apis.RFDETR, name), name
    export = set(inspect.signature(apis.RFDETR.export).parameters)
    assert {'format', 'shape', 'dynamic_batch', 'max_images'} < export


def test_examples(tmp_path, monkeypatch):
    pytest.importorskip('supervision')

    class RFDETRNano(apis.RFDETRNano):
        """Small and without a download."""

        def __init__(self):
            super().__init__(
                pretrain_weights=None,
                device='cpu',
                num_queries=9,
                group_detr=2,
                dec_layers=1,
                resolution=64,
            )

    monkeypatch.setattr(apis, 'RFDETRNano', RFDETRNano)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save('street.jpg')
    write_layout(tmp_path / 'dataset', 'roboflow')
    blocks = re.findall(r'^```python\n(.*?)^```', TEXT, re.M | re.S)
    assert len(blocks) == 3
    exec('\n'.join(blocks).replace('epochs=1', 'epochs=1, num_workers=0'), {})
