"""Joining processes without a GPU: launchers, wrappers, errors."""

import os
import socket

import pytest
import torch.distributed as torch_dist
from mmengine.config import Config

from rfdetr_mm.engine import cpu_processes, join_cpu_processes
from rfdetr_mm.errors import InputError


@pytest.fixture
def alone(monkeypatch):
    """No launcher's variables, and none and no group afterwards."""
    before = dict(os.environ)
    for names in cpu_processes.VARIABLES.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)
    for name in ('MASTER_ADDR', 'MASTER_PORT', 'SLURM_JOB_NODELIST'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cpu_processes, 'get_device', lambda: 'cpu')
    yield monkeypatch
    if torch_dist.is_initialized():
        torch_dist.destroy_process_group()
    os.environ.clear()
    os.environ.update(before)


def start(monkeypatch, launcher):
    """Set the variables of a job of one process."""
    for name, value in zip(cpu_processes.VARIABLES[launcher], '010'):
        monkeypatch.setenv(name, value)
    with socket.create_server(('127.0.0.1', 0)) as server:
        monkeypatch.setenv('MASTER_PORT', str(server.getsockname()[1]))


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
def test_every_launcher(alone, launcher):
    start(alone, launcher)
    alone.setenv('MASTER_ADDR', '127.0.0.1')
    cfg = Config(
        dict(launcher=launcher, env_cfg=dict(dist_cfg=dict(timeout=60)))
    )
    join_cpu_processes(cfg)
    assert torch_dist.get_backend() == 'gloo'
    assert torch_dist.get_world_size() == 1
    assert cfg.model_wrapper_cfg == dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=False,
        device_ids=None,
    )
    join_cpu_processes(cfg)  # once is enough


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        (dict(bucket_cap_mb=5), dict(bucket_cap_mb=5, device_ids=None)),
        (dict(device_ids=[1]), dict(device_ids=[1])),
        (dict(type='MMFullyShardedDataParallel'), {}),
    ],
)
def test_a_wrapper_of_the_config_is_kept(alone, given, expected):
    start(alone, 'pytorch')
    alone.setenv('MASTER_ADDR', '127.0.0.1')
    cfg = Config(dict(launcher='pytorch', model_wrapper_cfg=given))
    join_cpu_processes(cfg)
    kind = given.get('type', 'MMDistributedDataParallel')
    assert cfg.model_wrapper_cfg == dict(expected, type=kind)


def test_a_gpu_is_left_to_mmengine(alone):
    start(alone, 'pytorch')
    alone.setattr(cpu_processes, 'get_device', lambda: 'cuda')
    cfg = Config(dict(launcher='pytorch'))
    join_cpu_processes(cfg)
    assert not torch_dist.is_initialized()
    assert 'model_wrapper_cfg' not in cfg


def test_no_launcher_no_group(alone):
    for cfg in (Config({}), Config(dict(launcher='none'))):
        join_cpu_processes(cfg)
        assert 'model_wrapper_cfg' not in cfg
    assert not torch_dist.is_initialized()


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
@pytest.mark.parametrize(
    ('launcher', 'message'),
    [
        ('pytorch', 'torchrun.*RANK is not set.*leave --launcher out'),
        ('slurm', 'srun.*SLURM_PROCID is not set'),
        ('mpi', 'mpirun.*OMPI_COMM_WORLD_RANK is not set'),
    ],
)
def test_a_process_that_no_launcher_started(alone, launcher, message, device):
    alone.setattr(cpu_processes, 'get_device', lambda: device)
    with pytest.raises(InputError, match=message):
        join_cpu_processes(Config(dict(launcher=launcher)))


def test_nobody_knows_where_to_meet(alone):
    start(alone, 'mpi')
    with pytest.raises(InputError, match='MASTER_ADDR'):
        join_cpu_processes(Config(dict(launcher='mpi')))


def test_slurm_names_the_first_machine(alone, tmp_path):
    start(alone, 'slurm')
    alone.setenv('SLURM_JOB_NODELIST', 'node[3-4]')
    tool = tmp_path / 'scontrol'
    tool.write_text('#!/bin/sh\necho 127.0.0.1\necho "$3"\n')
    tool.chmod(0o755)
    alone.setenv('PATH', str(tmp_path), prepend=':')
    join_cpu_processes(Config(dict(launcher='slurm')))
    assert torch_dist.get_backend() == 'gloo'
    assert os.environ['MASTER_ADDR'] == '127.0.0.1'
