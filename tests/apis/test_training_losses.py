"""Losses of validation and tests through train() and evaluate()."""

import csv

import pytest
import torch

from rfdetr_mm.apis import RFDETRTiny
from rfdetr_mm.apis.train_config import TrainConfig
from rfdetr_mm.errors import InputError
from tests.data_factory import write_layout

pytest.importorskip('supervision')

QUICK = dict(epochs=2, batch_size=2, num_workers=0, seed=0, tensorboard=False)


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    return write_layout(tmp_path_factory.mktemp('data'), 'flat')


@pytest.fixture(scope='module')
def runs(data_root, tmp_path_factory):
    """Folders of the same training, without losses of validation and with."""
    folders = {}
    for wanted in ('auto', True):
        folder = tmp_path_factory.mktemp('run')
        model = RFDETRTiny(
            pretrain_weights=None, device='cpu', resolution=64, num_queries=9
        )
        model.train(
            dataset_dir=data_root,
            output_dir=folder,
            compute_val_loss=wanted,
            eval_base_model=True,
            **QUICK,
        )
        folders[wanted] = folder, model
    return folders


def rows_of(folder):
    with open(folder / 'metrics.csv', newline='') as file:
        return list(csv.DictReader(file))


def test_the_training_is_the_same_to_the_bit(runs):
    plain, with_losses = (
        torch.load(folder / 'epoch_2.pth', weights_only=False)
        for folder, _ in runs.values()
    )
    for key in ('state_dict', 'ema_state_dict'):
        for name, value in plain[key].items():
            assert torch.equal(value, with_losses[key][name]), name
    states = [run['resume_state'] for run in (plain, with_losses)]
    assert str(states[0]) == str(states[1])


def test_losses_of_both_weights_are_in_the_table(runs):
    plain, with_losses = (rows_of(folder) for folder, _ in runs.values())
    assert 'val/loss' not in plain[0]
    for row, other in zip(plain, with_losses, strict=True):
        assert row['coco/bbox_mAP'] == other['coco/bbox_mAP']
        assert row['train/loss'] == other['train/loss']
        for prefix in ('', 'plain/'):
            single = [
                float(value)
                for name, value in other.items()
                if name.startswith(f'{prefix}val/') and 'loss_' in name
            ]
            assert float(other[f'{prefix}val/loss']) == pytest.approx(
                sum(single), rel=1e-5
            )
        assert other['plain/val/loss'] != other['val/loss']


def test_evaluate_gives_them_if_they_are_wanted(runs, data_root):
    _, model = runs['auto']
    common = dict(dataset_dir=data_root, num_workers=0, batch_size=2)
    found = model.evaluate('test', **common)
    assert found['test/loss'] > 0 and 'test/loss_cls' in found
    off = model.evaluate('test', compute_test_loss=False, **common)
    assert not [name for name in off if 'loss' in name]
    assert {k: v for k, v in found.items() if 'test/' not in k} == off
    val = model.evaluate('val', compute_val_loss=True, **common)
    assert val['val/loss'] > 0
    assert 'val/loss' not in model.evaluate('val', **common)


def test_other_values_are_refused():
    with pytest.raises(InputError, match='compute_val_loss must be one of'):
        TrainConfig(compute_val_loss='yes')
