from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger

from rfdetr_mm.apis import RFDETR


def test_options_become_arguments(command, loaded, monkeypatch, tmp_path):
    calls = []
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'photos').mkdir()

    def export(self, output_dir, **options):
        calls.append((output_dir, options))
        return Path(output_dir, 'rfdetr-nano.onnx')

    monkeypatch.setattr(RFDETR, 'export', export, raising=False)
    common = ('export', '--model', 'nano', '--device', 'cpu')
    code, printed, _ = command(*common)
    assert code == 0 and printed == 'wrote output/rfdetr-nano.onnx\n'
    command(
        *(*common, '--output-dir', 'out', '--format', 'tflite'),
        *('--shape', 64, 96, '--batch-size', 2, '--quantization', 'int8'),
        *('--calibration-data', 'photos', '--max-images', 5),
        *('--backbone-only', '--opset-version', 16, '-v'),
        *('--inference-precision', 'bf16'),
    )
    command(*common, '--dynamic-batch')
    assert calls == [
        ('output', dict(format='onnx', verbose=False)),
        (
            'out',
            dict(
                format='tflite',
                verbose=True,
                shape=(64, 96),
                batch_size=2,
                quantization='int8',
                calibration_data='photos',
                max_images=5,
                backbone_only=True,
                opset_version=16,
                inference_precision='bf16',
            ),
        ),
        ('output', dict(format='onnx', verbose=False, dynamic_batch=True)),
    ]


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--shape', 64, 65], 'multiple of patch_size'),
        (['--resolution', 65], 'multiple of'),
        (['--format', 'tflite', '--dynamic-batch'], 'no dynamic_batch'),
        (
            ['--quantization', 'int8', '--calibration-data', 'gone'],
            "calibration_data='gone' is neither a folder nor a file",
        ),
        (['--output-dir', 'file'], 'nothing can be written to the folder'),
    ],
)
def test_what_is_wrong_is_said_before_a_download(
    command, no_network, monkeypatch, tmp_path, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').touch()
    common = ('export', '--model', 'nano', '--device', 'cpu')
    code, printed, errors = command(*common, *arguments)
    assert code == 1 and printed == ''
    assert message in errors and 'downloaded' not in errors
    code, _, errors = command(*common)
    assert code == 1 and 'could not be downloaded' in errors


def test_what_it_prints(command, checkpoint, tmp_path, monkeypatch):
    pytest.importorskip('mmdeploy')
    # A command has a process, and so mmengine's loggers, to itself.
    monkeypatch.setattr(MMLogger, '_instance_dict', OrderedDict())
    line = ('export', '--weights', checkpoint, '--output-dir', tmp_path)
    code, printed, errors = command(*line)
    assert code == 0 and printed.startswith('wrote ')
    assert printed.count('\n') == 1 and 'mmengine' not in errors
    code, printed, errors = command(*line, '-v')
    assert code == 0 and 'exporting to' in printed + errors


def test_weights_that_are_not_finite(command, checkpoint, tmp_path):
    pytest.importorskip('mmdeploy')
    content = torch.load(checkpoint, weights_only=False)
    weights = content['state_dict']
    name = 'bbox_head.query_embedding.weight'
    name = name if name in weights else next(reversed(weights))
    weights[name] = weights[name] * float('nan')
    torch.save(content, tmp_path / 'diverged.pth')
    code, printed, errors = command(
        *('export', '--weights', tmp_path / 'diverged.pth'),
        *('--output-dir', tmp_path / 'out'),
    )
    assert code == 1 and printed == ''
    assert f'weights are not finite (nan or inf): {name}' in errors
    assert not list((tmp_path / 'out').glob('*'))


def test_unknown_formats(command):
    code, _, errors = command('export', '--model', 'nano', '--format', 'xml')
    assert code == 2 and "'onnx', 'openvino'" in errors
