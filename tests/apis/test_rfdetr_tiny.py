"""The size whose weights come with the package: it works, at once, offline."""

import json
import sys

import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer
from mmengine.config import Config
from PIL import Image

from rfdetr_mm.apis import RFDETRTiny, from_checkpoint, model_config
from rfdetr_mm.apis.command_line import main
from rfdetr_mm.apis.model_config import ModelConfig
from rfdetr_mm.checkpoints import SHIPPED_FILES, resolve_weights
from rfdetr_mm.sizes import shipped
from tests.demo.conftest import DEMO

(NAME,) = SHIPPED_FILES


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """New pictures of what the weights know, and what is in them."""
    folder = tmp_path_factory.mktemp('drawn')
    sys.path.insert(0, str(DEMO))
    try:
        import pretraining_shapes
    finally:
        sys.path.pop(0)
    rng = np.random.default_rng(77)
    pictures = []
    for number in range(20):
        scene = pretraining_shapes.draw_scene(rng)
        pixels = (scene.pixels.clip(0, 1) * 255).round().astype(np.uint8)
        path = folder / f'{number}.png'
        Image.fromarray(pixels).save(path)
        found = [
            (ann['bbox'], pretraining_shapes.CLASSES[ann['category_id'] - 1])
            for ann in pretraining_shapes.annotations_of(scene, number)
        ]
        pictures.append((path, found))
    return pictures


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Neither a cache folder with files in it, nor a way to get one."""

    def refuse(*args, **kwargs):
        raise AssertionError('the network was asked')

    monkeypatch.setenv('RF_HOME', str(tmp_path / 'none'))
    monkeypatch.setattr('socket.socket.connect', refuse)


def overlap(box, xywh):
    """IoU of (x1, y1, x2, y2) with (x, y, w, h)."""
    x, y, w, h = xywh
    width = min(box[2], x + w) - max(box[0], x)
    height = min(box[3], y + h) - max(box[1], y)
    shared = max(width, 0) * max(height, 0)
    area = (box[2] - box[0]) * (box[3] - box[1])
    return shared / (area + w * h - shared)


def test_it_finds_what_it_was_trained_on(no_network, drawn):
    model = RFDETRTiny(device='cpu')
    right = total = 0
    for path, truth in drawn:
        found = model.predict(path, threshold=0.3)
        for xywh, name in truth:
            total += 1
            right += any(
                overlap(box, xywh) > 0.5
                and model.class_names[label].split()[0] == name.split()[0]
                for box, label in zip(found.xyxy, found.class_id)
            )
    assert total > 80 and right / total > 0.6  # box and colour


@pytest.mark.parametrize('model', ['tiny', 'RFDETRTiny', 'rfdetr-tiny'])
def test_the_command_works_at_once(no_network, drawn, capsys, model):
    path, _ = drawn[0]
    arguments = [str(path), '--model', model, '--device', 'cpu', '--json']
    assert main(['predict', *arguments, '--threshold', '0.2']) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)


@pytest.mark.parametrize('name', [NAME, f'rfdetr://{NAME}'])
def test_all_names_of_the_weights_are_the_same_file(no_network, name):
    by_size = RFDETRTiny(device='cpu')
    by_name = RFDETRTiny(device='cpu', pretrain_weights=name)
    by_path = from_checkpoint(resolve_weights(NAME), device='cpu')
    assert type(by_path) is RFDETRTiny
    weights = by_size.model.model.state_dict()
    assert len(by_size.class_names) == 36
    for other in (by_name, by_path):
        assert other.class_names == by_size.class_names
        others = other.model.model.state_dict()
        assert all(torch.equal(weights[key], others[key]) for key in weights)


def test_a_file_is_loaded_with_one_config(monkeypatch):
    calls = []

    def counted(function, name):
        def call(*args, **kwargs):
            calls.append(name)
            return function(*args, **kwargs)

        return call

    shipped._read.cache_clear()
    model_config._numbers_of.cache_clear()
    for owner, name in ((ModelConfig, '__init__'), (Config, 'fromfile')):
        function = counted(getattr(owner, name), name)
        monkeypatch.setattr(owner, name, function)
    assert from_checkpoint(resolve_weights(NAME), device='cpu')
    assert sorted(calls) == ['__init__', 'fromfile']


def test_other_classes_start_from_it():
    with pytest.warns(UserWarning, match='36 classes and num_classes=5'):
        model = RFDETRTiny(device='cpu', num_classes=5)
    assert len(model.class_names) == 5


def test_mmdets_inferencer_takes_its_config_by_name(no_network, drawn):
    inferencer = DetInferencer(
        str(DEMO.parent / 'configs/rfdetr/rfdetr_tiny_pretraining-shapes.py'),
        weights=f'rfdetr://{NAME}',
        device='cpu',
    )
    (found,) = inferencer(str(drawn[0][0]))['predictions']
    assert max(found['scores']) > 0.2
