"""A training that diverges leaves nothing that looks like a result."""

import pytest
import torch

from rfdetr_mm.apis.command_line import main
from tests.data_factory import write_layout


@pytest.fixture
def train(tmp_path, capsys):
    data_root = write_layout(tmp_path / 'data', 'flat')

    def run(*settings):
        """Exit code, errors and the folder of a training at a high rate."""
        code = main(
            [
                *('train', str(data_root), '--model', 'tiny', '--no-weights'),
                *('--resolution', '64', '--batch-size', '1', '--epochs', '2'),
                *('--num-workers', '0', '--device', 'cpu', '--seed', '0'),
                *('--output-dir', str(tmp_path / 'out'), '--set', *settings),
            ]
        )
        return code, capsys.readouterr().err, tmp_path / 'out'

    return run


RATES = ('lr=1e30', 'lr_encoder=1e30')


def weights_in(folder):
    """All weights of all checkpoints."""
    for path in folder.glob('*.pth'):
        content = torch.load(path, weights_only=False)
        for key in {'state_dict', 'ema_state_dict'} & {*content}:
            yield from content[key].values()


def test_it_leaves_no_best_weights(train):
    code, errors, folder = train(*RATES, 'non_finite_patience=2')
    assert code == 1
    line = errors.splitlines()[-1]
    assert line.startswith('rfdetr-mm train: error: the training has diverged')
    assert '2 steps in a row' in line and 'lr, lr_encoder' in line
    assert not list(folder.glob('*best*'))
    assert all(value.isfinite().all() for value in weights_in(folder))


def test_one_that_goes_on_writes_finite_weights_only(train):
    _, errors, folder = train(*RATES, 'non_finite_patience=0')
    assert 'epoch_1.pth is not saved, because' in errors
    assert all(value.isfinite().all() for value in weights_in(folder))


def test_an_ordinary_one_does(train):
    code, errors, folder = train('lr=1e-4', 'non_finite_patience=2')
    assert code == 0, errors
    assert (folder / 'checkpoint_best_total.pth').is_file()
    assert 'not finite' not in errors
