"""From a data set to predictions, by the command alone."""

import json

import pytest

from tests.data_factory import CLASSES, write_layout


@pytest.mark.slow  # trains
def test_train_val_predict(command, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_layout(tmp_path / 'data', 'roboflow')
    code, printed, errors = command(
        *('train', 'data', '--weights', checkpoint, '--device', 'cpu'),
        *('--epochs', 1, '--batch-size', 2, '--num-workers', 0),
        *('--output-dir', 'mine', '--set', 'multi_scale=off'),
        *('amp_dtype=none', 'seed=0'),
    )
    assert code == 0, errors
    best = 'mine/checkpoint_best_total.pth'
    assert printed.rstrip().endswith(f'the best model is {best}')
    code, printed, errors = command(
        *('val', 'data', '--weights', best, '--device', 'cpu'),
        *('--batch-size', 2, '--num-workers', 0, '--json', 'metrics.json'),
    )
    assert code == 0, errors
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert -1 <= metrics['coco/bbox_mAP'] <= 1 and 'coco/bbox_mAP' in printed
    code, printed, _ = command('info', best, '--json')
    content = json.loads(printed)
    assert code == 0 and content['size'] == 'nano'
    assert sorted(content['classes']) == sorted(CLASSES)
    code, printed, errors = command('train', 'gone', '--weights', best)
    assert code == 1 and errors.count('\n') == 1 and 'gone' in errors
