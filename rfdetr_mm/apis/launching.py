"""Trainings in several processes, which torchrun starts."""

import argparse
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import torch
from mmengine.config import Config

from rfdetr_mm.checkpoints import atomic_file
from rfdetr_mm.engine.console import QUIET, console
from rfdetr_mm.errors import InputError

from .train_config import TrainConfig
from .training import BEST_FILE, run_training

_CONFIG = 'launched_config.py'


def processes_of(train: TrainConfig) -> int:
    """Count the processes of a training on this machine.

    Args:
        train: Its configuration.

    Returns:
        How many torchrun must start; 1 if none is needed, or torchrun has
        started this process already.

    Raises:
        InputError: If there are fewer GPUs, or several machines are wanted
            and their addresses are not set.
    """
    if 'RANK' in os.environ and 'WORLD_SIZE' in os.environ:
        return 1
    num_gpus = torch.cuda.device_count()
    number = train.devices
    if number in ('auto', -1):
        number = max(num_gpus, 1)
    if num_gpus and number > num_gpus:
        raise InputError(
            f'devices={train.devices} asks for {number} GPUs, and this '
            f'machine has {num_gpus}: give devices={num_gpus} or less'
        )
    missing = [
        name for name in ('MASTER_ADDR', 'NODE_RANK') if name not in os.environ
    ]
    if train.num_nodes > 1 and missing:
        raise InputError(
            f'num_nodes={train.num_nodes}: every machine runs this program, '
            f'and {" and ".join(missing)} must be set there: the address of '
            'the first one, and its own number from 0 on (MASTER_PORT is '
            '29500 otherwise). See docs/distributed.md'
        )
    return number


def train_in_processes(
    cfg: Config, train: TrainConfig, device: str, found: str
) -> Path:
    """Train in this process, or in as many as are wanted.

    Args:
        cfg: The complete config, its data set filled in.
        train: What is wanted.
        device: The device of a training in this process.
        found: What is logged about the data set.

    Returns:
        The file of the best weights.

    Raises:
        InputError: If the processes cannot be started.
    """
    if train.strategy == 'fsdp':
        cfg.runner_type = 'ShardedRunner'
    number = processes_of(train)
    if number * train.num_nodes > 1:
        return launch_training(cfg, number, train.num_nodes, found)
    if 'RANK' in os.environ and 'WORLD_SIZE' in os.environ:
        cfg.launcher = 'pytorch'  # torchrun has started the user's program
        return run_training(cfg, None, found)
    with console(QUIET) if train.progress_bar else contextlib.nullcontext():
        return run_training(cfg, device, found)


def launch_training(
    cfg: Config, processes: int, num_nodes: int, found: str
) -> Path:
    """Train in processes of their own.

    Args:
        cfg: The complete config, its data set filled in.
        processes: How many on this machine.
        num_nodes: How many machines.
        found: What is logged about the data set.

    Returns:
        The file of the best weights.

    Raises:
        RuntimeError: If a process has failed; it has printed why.
    """
    folder = Path(cfg.work_dir)
    with atomic_file(folder / _CONFIG) as file:
        file.write(cfg.pretty_text.encode())
    where = ['--standalone']
    if num_nodes > 1:
        env = os.environ
        where = [
            f'--nnodes={num_nodes}',
            f'--node_rank={env["NODE_RANK"]}',
            f'--master_addr={env["MASTER_ADDR"]}',
            f'--master_port={env.get("MASTER_PORT", "29500")}',
        ]
    command = [
        *(sys.executable, '-m', 'torch.distributed.run', *where),
        *(f'--nproc_per_node={processes}', '-m', __name__),
        *(str(folder / _CONFIG), '--found', found),
    ]
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, os.environ.get('PYTHONPATH', '')]
    environment = dict(
        os.environ, PYTHONPATH=os.pathsep.join(filter(None, paths))
    )
    code = subprocess.run(command, env=environment, check=False).returncode
    if code:
        raise RuntimeError(
            f'The training in {processes} processes has failed (exit code '
            f'{code}); what they printed is above, and their log is in '
            f'{folder}.'
        )
    return folder / BEST_FILE


def main() -> None:
    """Train as one of the processes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('config')
    parser.add_argument('--found', default='')
    args = parser.parse_args()
    import rfdetr_mm  # noqa: F401  (registers all)

    cfg = Config.fromfile(args.config)
    cfg.launcher = 'pytorch'
    run_training(cfg, None, args.found)


if __name__ == '__main__':
    main()
