"""What rfdetr-mm prints of a training and an evaluation."""

import re

import pytest

from tests.data_factory import write_layout


@pytest.fixture
def data_root(tmp_path):
    return write_layout(tmp_path / 'data', 'flat')


@pytest.fixture
def train(command, data_root, tmp_path):
    def run(*arguments):
        return command(
            *('train', data_root, '--model', 'tiny', '--no-weights'),
            *('--resolution', 64, '--epochs', 2, '--batch-size', 2),
            *('--num-workers', 0, '--device', 'cpu', '--output-dir'),
            *(tmp_path / 'out', *arguments),
        )

    return run


def test_a_training_is_a_few_lines(train, command, data_root, tmp_path):
    code, printed, errors = train()
    assert code == 0, errors
    best = tmp_path / 'out/checkpoint_best_total.pth'
    assert printed == f'the best model is {best}\n'
    lines = errors.splitlines()
    assert len(lines) <= 10, errors
    # What mmengine warns itself of.
    assert 'FileClient' not in errors and 'HardDiskBackend' not in errors
    settings = next(x for x in lines if x.startswith('training on '))
    for part in ('images and', 'classes (', '64 x 64 px', 'batch 2'):
        assert part in settings
    assert '2 epochs; AdamW, lr 0.0001; cpu; into ' in settings
    assert 'epoch 1/2  the first batch is loaded' in lines
    step = next(x for x in lines if ' s a step, ' in x)
    assert re.search(r'loss [\d.]+, .* left, [\d.]+ GiB', step)
    for epoch in (1, 2):
        assert any(
            re.fullmatch(
                rf'epoch {epoch}/2, loss [\d.]+, coco/bbox_mAP [\d.-]+', x
            )
            for x in lines
        ), errors
    (log,) = (tmp_path / 'out').glob('*/*.log')
    text = log.read_text()
    assert 'Config:\n' in text and text.count('\n') > 200

    code, printed, errors = command(
        *('val', data_root, '--weights', best, '--device', 'cpu'),
        *('--num-workers', 0),
    )
    assert code == 0, errors
    assert all(line.startswith('coco/') for line in printed.splitlines())
    assert 'evaluated ' in errors and len(errors.splitlines()) <= 3, errors


def test_verbose_is_mmengines_log(train):
    code, printed, errors = train('--epochs', 1, '-v')
    assert code == 0, errors
    assert 'Config:' in printed and 'Epoch(train)' in printed
