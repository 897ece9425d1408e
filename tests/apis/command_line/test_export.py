from pathlib import Path

from rfdetr_mm.apis import RFDETR


def test_options_become_arguments(command, loaded, monkeypatch):
    calls = []

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
        *('--dynamic-batch', '--backbone-only', '--opset-version', 16),
        *('--inference-precision', 'bf16'),
    )
    assert calls == [
        ('output', dict(format='onnx')),
        (
            'out',
            dict(
                format='tflite',
                shape=(64, 96),
                batch_size=2,
                quantization='int8',
                calibration_data='photos',
                max_images=5,
                dynamic_batch=True,
                backbone_only=True,
                opset_version=16,
                inference_precision='bf16',
            ),
        ),
    ]


def test_unknown_formats(command):
    code, _, errors = command('export', '--model', 'nano', '--format', 'xml')
    assert code == 2 and "'onnx', 'openvino'" in errors
