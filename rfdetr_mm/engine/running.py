"""The one way from a config to a Runner, with one set of guards.

The tools, ``train()`` and ``evaluate()`` of the Python interface and the
command line come through here.
"""

from pathlib import Path

import torch
from mmdet.registry import RUNNERS
from mmdet.utils import (
    register_all_modules,
    setup_cache_size_limit_of_dynamo,
)
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

from rfdetr_mm.checkpoints import read_checkpoint
from rfdetr_mm.datasets import resolve_own_data
from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.config_facts import check_sizes_agree
from rfdetr_mm_light.files import check_writable

from .console import QUIET, SHORT, console_mode, with_console
from .cpu_processes import join_cpu_processes
from .hooks import ProgressHook, SignOfLifeHook

_HOOKS_OF_MMENGINE = (
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
)


class DeviceRunner(Runner):
    """Runner that trains on ``cfg.device`` where mmengine takes the best."""

    def wrap_model(
        self, model_wrapper_cfg: dict | None, model: nn.Module
    ) -> nn.Module:
        """Put the model on its device; distributed ones as mmengine does.

        Args:
            model_wrapper_cfg: mmengine's config of the wrapper.
            model: The model.
        """
        device = self.cfg.get('device')
        if device is None or self.distributed:
            return super().wrap_model(model_wrapper_cfg, model)
        return model.to(device)


def build_runner(cfg: Config, device: str | None = None) -> Runner:
    """Build the Runner, or the one named by ``runner_type``.

    A config that leaves its data set open is filled in before, and what was
    found is logged. The processes of a distributed job without a GPU are
    joined.

    Args:
        cfg: The config, with all options merged.
        device: The device that is trained on; the best one if None.

    Returns:
        The Runner.

    Raises:
        InputError: If the user's data set or the work dir cannot be used,
            places of the config say different image sizes, a file to resume
            from holds no state of a training, there is no launcher where
            one is named, or no Runner of the name.
    """
    check_sizes_agree(cfg)
    if cfg.get('resume'):
        check_resumable(cfg.get('load_from'))
    found = resolve_own_data(cfg)
    check_work_dir(cfg.work_dir)
    join_cpu_processes(cfg)
    setup_cache_size_limit_of_dynamo()
    register_all_modules(init_default_scope=False)
    runner_class = Runner
    if 'runner_type' in cfg:
        runner_class = RUNNERS.get(cfg.runner_type)
    if device is not None:
        cfg.device = device
        if device.startswith('cuda:'):
            torch.cuda.set_device(device)
        if 'runner_type' not in cfg:
            runner_class = DeviceRunner
    if runner_class is None:
        raise InputError(
            f'runner_type={cfg.runner_type!r} is not a Runner; known are '
            f'{", ".join(RUNNERS.module_dict)}'
        )
    _drop_hooks_that_are_none(cfg)
    runner = with_console(runner_class).from_cfg(cfg)
    runner.register_hook(SignOfLifeHook())
    if console_mode() == QUIET:
        runner.register_hook(ProgressHook())
    elif console_mode() == SHORT:
        runner.logger.info(
            f'The whole config is in {runner.log_dir}/vis_data/config.py; -v '
            'of the tools prints it.'
        )
    if found is not None:
        runner.logger.info(found)
    return runner


def _drop_hooks_that_are_none(cfg: Config) -> None:
    """Let ``default_hooks.NAME=None`` turn any hook off, in place.

    mmengine takes it for its own six, and fails at others with an assertion.
    """
    hooks = cfg.get('default_hooks') or {}
    for name in [name for name, hook in hooks.items() if hook is None]:
        if name not in _HOOKS_OF_MMENGINE:
            del hooks[name]


def check_work_dir(work_dir: str) -> None:
    """Complain now about a folder that nothing can be written to.

    Args:
        work_dir: The folder; made if it is missing.

    Raises:
        InputError: If nothing can be written to it.
    """
    check_writable(
        work_dir,
        'the work dir',
        'choose another one (--work-dir of the tools, --output-dir of '
        'rfdetr-mm, output_dir in Python)',
    )


def check_resumable(location: str | None) -> None:
    """Refuse to resume from a local file without the state of a training.

    Args:
        location: The checkpoint; None for the latest one in the work dir.

    Raises:
        InputError: If there is no such file, it cannot be read, or it holds
            weights alone.
    """
    if location is None or '://' in location:
        return
    if not Path(location).is_file():
        raise InputError(
            f'there is no checkpoint file {location} (seen from '
            f'{Path.cwd()}) to resume from'
        )
    checkpoint = read_checkpoint(location)
    meta = checkpoint.get('meta') or {}
    if 'optimizer' in checkpoint and {'epoch', 'iter'} <= set(meta):
        return
    raise InputError(
        'resuming needs a checkpoint that a training has written, '
        f'{location} holds weights without optimizer, epoch and iteration; '
        'to start from these weights, leave --resume out and give '
        f'load_from={location} (--weights of rfdetr-mm, pretrain_weights in '
        'Python)'
    )
