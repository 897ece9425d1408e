import json

import pytest

from rfdetr_mm.apis import RFDETR
from rfdetr_mm.apis.command_line import val

METRICS = {
    'coco/bbox_mAP': 0.25,
    'coco/bbox_mAP_50': 0.5,
    'coco/bbox_mAP_s': -1.0,
}


@pytest.fixture
def calls(monkeypatch):
    seen = []
    # There is no data set.
    monkeypatch.setattr(val, 'check_evaluation', lambda *given: None)

    def evaluate(self, split='test', **options):
        seen.append((split, options))
        return METRICS

    monkeypatch.setattr(RFDETR, 'evaluate', evaluate, raising=False)
    return seen


def test_metrics(command, loaded, calls, tmp_path):
    path = tmp_path / 'new' / 'metrics.json'
    code, printed, _ = command(
        *('val', '.', '--model', 'nano', '--device', 'cpu'),
        *('--split', 'test', '--batch-size', 8, '--json', path),
    )
    assert code == 0
    assert calls == [('test', dict(dataset_dir='.', batch_size=8))]
    assert printed.splitlines() == [
        'coco/bbox_mAP      25.00',
        'coco/bbox_mAP_50   50.00',
        'coco/bbox_mAP_s        -',
    ]
    assert json.loads(path.read_text()) == METRICS


def test_the_split_is_val_by_default(command, loaded, calls):
    command('val', '.', '--model', 'nano', '--device', 'cpu')
    assert calls == [('val', dict(dataset_dir='.'))]
    code, *_ = command('val', '.', '--split', 'train')
    assert code == 2
