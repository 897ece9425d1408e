import pytest

from rfdetr_mm.apis import RFDETR, RFDETRNano
from rfdetr_mm.apis.command_line import train
from tests.data_factory import write_layout


@pytest.fixture
def calls(monkeypatch):
    seen = []
    # There is no data set.
    monkeypatch.setattr(train, 'check_training', lambda *given: None)
    monkeypatch.setattr(
        RFDETR,
        'train',
        lambda self, **options: seen.append((type(self).__name__, options)),
        raising=False,
    )
    return seen


def test_options_become_arguments(command, loaded, calls):
    code, printed, _ = command(
        *('train', '.', '--model', 'nano', '--device', 'cpu'),
        *('--epochs', 3, '--batch-size', 'auto', '--lr', '2e-4'),
        *('--early-stopping', '--output-dir', 'mine', '--resume'),
        *('--set', 'warmup_epochs=1.5', 'wandb=true', 'run=a b'),
        *('--cfg-options', '+mine.x=[1,2]', 'env_cfg.cudnn_benchmark=True'),
    )
    assert code == 0
    assert calls == [
        (
            'RFDETRNano',
            dict(
                dataset_dir='.',
                epochs=3,
                batch_size='auto',
                lr=2e-4,
                early_stopping=True,
                output_dir='mine',
                resume=True,
                warmup_epochs=1.5,
                wandb=True,
                run='a b',
                cfg_options={
                    '+mine.x': [1, 2],
                    'env_cfg.cudnn_benchmark': True,
                },
            ),
        )
    ]
    assert 'mine/checkpoint_best_total.pth' in printed


def test_what_is_not_given_is_left_to_train(command, loaded, calls):
    command('train', '.', '--model', 'nano', '--device', 'cpu')
    assert calls == [('RFDETRNano', dict(dataset_dir='.'))]
    command(*('train', '.', '--model', 'nano', '--resume', 'last.pth'))
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


# Arguments after the data set: what is said before any download.
IN_ORDER = [
    (['--epochs', 0, '--device', 'cuda:99'], 'epochs must be'),
    (['--set', 'epoch=3'], 'Did you mean epochs?'),
    (['--cfg-options', 'x'], 'an option is written KEY=VALUE'),
    (
        ['--cfg-options', 'train_cfg.max_epoch=1', 'env_cfgs.x=1'],
        'did you mean train_cfg.max_epochs?',
    ),
    (
        ['--cfg-options', 'model.bbox_head.num_queries=5'],
        'the model is chosen when it is made',
    ),
    (['--cfg-options', 'resolution=64'], '--resolution'),
    (['--device', 'cuda:99'], 'No data set was found'),
]


@pytest.mark.parametrize('arguments, message', IN_ORDER)
def test_the_order_of_checks(
    command, no_network, tmp_path, arguments, message
):
    line = ('train', tmp_path, '--model', 'nano', *arguments)
    code, _, errors = command(*line)
    assert code == 1 and message in errors and 'downloaded' not in errors


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--batch-size', 0, '--device', 'cuda:99'], 'batch_size must be'),
        (['--device', 'cuda:99'], 'No data set was found'),
    ],
)
def test_the_order_of_checks_of_val(
    command, no_network, tmp_path, arguments, message
):
    line = ('val', tmp_path, '--model', 'nano', *arguments)
    code, _, errors = command(*line)
    assert code == 1 and message in errors and 'downloaded' not in errors


def test_data_device_and_disk_come_before_a_download(
    command, no_network, tmp_path
):
    root = write_layout(tmp_path / 'data', 'flat')
    (tmp_path / 'file').touch()
    line = ('train', root, '--model', 'nano', '--device')
    code, _, errors = command(*line, 'quantum')
    assert code == 1 and 'quantum' in errors and 'download' not in errors
    out = ('--output-dir', tmp_path / 'file')
    code, _, errors = command(*line, 'cpu', *out)
    assert code == 1 and 'nothing can be written' in errors
    line = ('val', root, '--model', 'nano', '--device', 'cpu', '--json')
    code, _, errors = command(*line, tmp_path / 'file/metrics.json')
    assert code == 1 and 'nothing can be written' in errors
    line = ('train', root, '--model', 'nano', '--device')
    (root / 'val.json').write_text('{"images": 3}')
    code, _, errors = command(*line, 'cpu', *out)
    assert code == 1 and 'val.json' in errors


@pytest.mark.parametrize('name, names', [('train', True), ('val', False)])
def test_a_failed_download_names_the_way_out(
    command, no_network, tmp_path, name, names
):
    root = write_layout(tmp_path / 'data', 'flat')
    line = (name, root, '--model', 'nano', '--device', 'cpu')
    code, _, errors = command(*line, '--output-dir', tmp_path / 'out')
    assert code == 1 and 'could not be downloaded' in errors
    assert '--weights FILE' in errors
    assert ('--no-weights starts from random weights' in errors) == names


def test_without_weights_nothing_is_downloaded(
    command, no_network, calls, tmp_path, monkeypatch
):
    made = []
    monkeypatch.setattr(
        RFDETRNano, '__init__', lambda self, **fields: made.append(fields)
    )
    code, *_ = command(
        *('train', tmp_path, '--model', 'nano', '--device', 'cpu'),
        '--no-weights',
    )
    assert code == 0 and len(calls) == 1
    assert made == [dict(device='cpu', pretrain_weights=None)]
