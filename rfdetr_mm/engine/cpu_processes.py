"""Distributed runs on machines without a GPU."""

import os
import subprocess
from datetime import timedelta
from typing import Any

import torch.distributed as torch_dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_distributed

from rfdetr_mm.errors import InputError

# launcher: what tells rank, number of processes and rank on the machine
VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': (
        'OMPI_COMM_WORLD_RANK',
        'OMPI_COMM_WORLD_SIZE',
        'OMPI_COMM_WORLD_LOCAL_RANK',
    ),
}
STARTERS = {
    'pytorch': 'torchrun or tools/dist_train.sh and tools/dist_test.sh',
    'slurm': 'srun or tools/slurm_train.sh and tools/slurm_test.sh',
    'mpi': "Open MPI's mpirun",
}


def join_cpu_processes(cfg: Config) -> None:
    """Let the processes of a distributed job work without a GPU.

    mmengine's Runner gives each process a CUDA device, before the processes
    are joined and again when the model is wrapped. Where mmengine finds no
    device but the CPU, this joins them by gloo instead, and adds to the
    config a ``model_wrapper_cfg`` that asks for no device. On other machines,
    and without a launcher, nothing is changed.

    Args:
        cfg: Config of a Runner, with ``launcher``; ``timeout`` (seconds) of
            ``env_cfg.dist_cfg`` is used.

    Raises:
        InputError: If the launcher has not started this process.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none' or is_distributed():
        return
    values = [os.environ.get(name) for name in VARIABLES[launcher]]
    if None in values:
        missing = VARIABLES[launcher][values.index(None)]
        raise InputError(
            f'--launcher {launcher} is for processes started by '
            f'{STARTERS[launcher]}, but this one was not: {missing} is not '
            'set. For a single process leave --launcher out.'
        )
    if get_device() != 'cpu':
        return
    os.environ.update(zip(VARIABLES['pytorch'], values))
    if 'MASTER_ADDR' not in os.environ:
        os.environ['MASTER_ADDR'] = _address_of_rank_0(launcher)
    os.environ.setdefault('MASTER_PORT', '29500')
    options = {}
    timeout = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout')
    if timeout is not None:
        options['timeout'] = timedelta(seconds=timeout)
    torch_dist.init_process_group('gloo', **options)
    cfg.model_wrapper_cfg = _wrapper_without_device(cfg)


def _wrapper_without_device(cfg: Config) -> dict[str, Any]:
    wrapper = cfg.get('model_wrapper_cfg')
    if wrapper is None:  # what the Runner takes then
        wrapper = dict(
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
    wrapper = dict(dict(type='MMDistributedDataParallel'), **wrapper)
    if str(wrapper['type']).endswith('DistributedDataParallel'):
        wrapper.setdefault('device_ids', None)
    return wrapper


def _address_of_rank_0(launcher: str) -> str:
    nodes = os.environ.get('SLURM_JOB_NODELIST')
    if launcher != 'slurm' or nodes is None:
        raise InputError(
            'The processes meet at the machine of rank 0: set MASTER_ADDR to '
            'its address on all machines, and MASTER_PORT to a free port.'
        )
    listed = subprocess.run(
        ['scontrol', 'show', 'hostnames', nodes],
        capture_output=True,
        text=True,
        check=True,
    )
    return listed.stdout.split()[0]
