import pytest

from rfdetr_mm.apis import RFDETR


@pytest.fixture
def calls(monkeypatch):
    seen = []
    monkeypatch.setattr(
        RFDETR,
        'train',
        lambda self, **options: seen.append((type(self).__name__, options)),
        raising=False,
    )
    return seen


def test_options_become_arguments(command, loaded, calls):
    code, printed, _ = command(
        *('train', 'DIR', '--model', 'nano', '--device', 'cpu'),
        *('--epochs', 3, '--batch-size', 'auto', '--lr', '2e-4'),
        *('--early-stopping', '--output-dir', 'mine', '--resume'),
        *('--set', 'warmup_epochs=1.5', 'wandb=true', 'run=a b'),
    )
    assert code == 0
    assert calls == [
        (
            'RFDETRNano',
            dict(
                dataset_dir='DIR',
                epochs=3,
                batch_size='auto',
                lr=2e-4,
                early_stopping=True,
                output_dir='mine',
                resume=True,
                warmup_epochs=1.5,
                wandb=True,
                run='a b',
            ),
        )
    ]
    assert 'mine/checkpoint_best_total.pth' in printed


def test_what_is_not_given_is_left_to_train(command, loaded, calls):
    command('train', 'DIR', '--model', 'nano', '--device', 'cpu')
    assert calls == [('RFDETRNano', dict(dataset_dir='DIR'))]
    command(*('train', 'DIR', '--model', 'nano', '--resume', 'last.pth'))
    assert calls[1][1]['resume'] == 'last.pth'


def test_resuming_needs_no_published_weights(command, monkeypatch, tmp_path):
    monkeypatch.setenv('RF_HOME', str(tmp_path))
    monkeypatch.setattr(
        'rfdetr_mm.checkpoints.published.download',
        lambda *args, **options: pytest.fail('a download'),
    )
    code, _, errors = command(
        *('train', tmp_path, '--model', 'nano', '--device', 'cpu', '--resume'),
        *('--output-dir', tmp_path / 'out', '--resolution', 64),
    )
    assert code == 1 and 'No data set was found' in errors


@pytest.mark.parametrize(
    'arguments',
    [['--set', 'wings'], ['--epochs', 'x'], ['--batch-size', 'many']],
)
def test_wrong_usage(command, arguments):
    code, _, errors = command('train', 'D', '--model', 'nano', *arguments)
    assert code == 2 and 'argument' in errors
