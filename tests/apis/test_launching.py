"""Several processes: how many, and that they train."""

import pytest
import torch

from rfdetr_mm.apis import RFDETRTiny
from rfdetr_mm.apis.launching import processes_of
from rfdetr_mm.apis.train_config import TrainConfig
from rfdetr_mm.errors import InputError
from tests.data_factory import write_layout


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'NODE_RANK'):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ('num_gpus', 'devices', 'expected'),
    [
        *((0, 1, 1), (0, 'auto', 1), (0, 2, 2), (4, 1, 1), (4, 2, 2)),
        *((4, '2', 2), (4, -1, 4), (4, '-1', 4), (4, 'auto', 4)),
    ],
)
def test_how_many(monkeypatch, num_gpus, devices, expected):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: num_gpus)
    assert processes_of(TrainConfig(devices=devices)) == expected
    # torchrun has started this process: no more are needed.
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('WORLD_SIZE', '2')
    assert processes_of(TrainConfig(devices=devices)) == 1


def test_what_cannot_be(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    with pytest.raises(InputError, match='asks for 3 GPUs.*has 2'):
        processes_of(TrainConfig(devices=3))
    with pytest.raises(InputError, match='MASTER_ADDR and NODE_RANK must'):
        processes_of(TrainConfig(num_nodes=2))
    monkeypatch.setenv('MASTER_ADDR', 'a')
    with pytest.raises(InputError, match='and NODE_RANK must be set'):
        processes_of(TrainConfig(num_nodes=2))
    for bad in (0, -2, 1.5, True, '0,1', 'all'):
        with pytest.raises(InputError, match='devices must be the number'):
            TrainConfig(devices=bad)
    with pytest.raises(InputError, match='strategy must be one of'):
        TrainConfig(strategy='deepspeed')


# Two processes that import torch and mmdet, beside this one
@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path):
    pytest.importorskip('supervision')
    data_root = write_layout(tmp_path / 'data', 'flat')
    model = RFDETRTiny(
        pretrain_weights=None, device='cpu', resolution=64, num_queries=9
    )
    before = {k: v.clone() for k, v in model.model.model.state_dict().items()}
    model.train(
        dataset_dir=data_root,
        output_dir=tmp_path / 'out',
        epochs=1,
        batch_size=1,
        num_workers=0,
        seed=0,
        devices=2,
    )
    assert (tmp_path / 'out/checkpoint_best_total.pth').is_file()
    assert len((tmp_path / 'out/metrics.csv').read_text().splitlines()) == 2
    after = model.model.model.state_dict()
    assert any(
        after[name].shape != value.shape or (after[name] != value).any()
        for name, value in before.items()
    )
