"""A Runner with a few numbers to train, which draws at random everywhere.

``python tests/small_run.py OPTIONS`` trains, kills itself at given moments,
resumes, and prints how the results compare with those of an undisturbed run;
OPTIONS is a JSON object, see :func:`main`. A program of its own, because it
forks: a process that has trained already cannot.
"""

import json
import os
import random
import signal
import socket
import sys
import tempfile
import uuid
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.fileio import LocalBackend
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from rfdetr_mm.engine import join_cpu_processes

NUM_IMAGES = 10


class Net(BaseModel):
    def __init__(self, norm=nn.BatchNorm1d):
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.norm = norm(6)
        self.dropout = nn.Dropout(0.3)
        self.last = nn.Linear(6, 1)

    def forward(self, inputs, mode='tensor', **kwargs):
        inputs = torch.stack(inputs)
        out = self.last(self.dropout(self.norm(self.first(inputs))))
        if mode == 'predict':
            return list(out.detach())
        return {'loss': (out.squeeze(1) - inputs.sum(1)).square().mean()}


def noise(results):
    """Draws from every generator there is."""
    value = random.random() + np.random.rand() + torch.rand(4)
    return {'inputs': results['value'] + 0.1 * value}


def no_noise(results):
    return {'inputs': results['value']}


class Numbers(BaseDataset):
    METAINFO = {'classes': ('a',)}

    def load_data_list(self):
        generator = torch.Generator().manual_seed(3)
        return [
            {'value': torch.randn(4, generator=generator)}
            for _ in range(NUM_IMAGES)
        ]


class Score(BaseMetric):
    """Rises and falls from validation to validation."""

    def process(self, data_batch, data_samples):
        self.results += [float(sample) for sample in data_samples]

    def compute_metrics(self, results):
        return {'score': float(np.sin(1e5 * np.mean(results)))}


def build(work_dir, resume=False, **options):
    """A Runner on the CPU.

    Args:
        work_dir: Its work dir.
        resume: As Runner's.
        **options: ``hook``, ``train``, ``loader``, ``optim`` and ``val``
            are merged into the configs of that part; ``custom`` are further
            hooks, ``seed`` is the seed (None: one by chance). ``ranks`` is
            the number of processes, each with its own random numbers.
    """
    ranks = options.get('ranks', 1)
    cfg = Config(dict(launcher='pytorch' if ranks > 1 else 'none'))
    join_cpu_processes(cfg)
    loader = dict(batch_size=2, num_workers=0)
    loader.update(options.get('loader', {}))
    data = dict(type=Numbers, serialize_data=False)
    hook = dict(
        type='SafeCheckpointHook',
        interval=1,
        max_keep_ckpts=1,
        save_best='score',
        rule='greater',
    )
    hook.update(options.get('hook', {}))
    ema = dict(type='OptimStepEMAHook', ema_type='WarmupEMA', tau=5)
    if options.get('seed', 7) is not None:
        torch.manual_seed(0)
    return Runner(
        # Buffers of batch norms differ between processes; RF-DETR has none.
        model=Net(nn.LayerNorm) if ranks > 1 else Net(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            loader,
            dataset=dict(data, pipeline=[noise]),
            sampler=dict(type='DefaultSampler', shuffle=True),
        ),
        val_dataloader=dict(
            loader,
            dataset=dict(data, pipeline=[no_noise]),
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        train_cfg=dict(
            dict(type='ResumableTrainLoop', max_epochs=4),
            **options.get('train', {}),
        ),
        val_cfg=dict(dict(type='ValLoop'), **options.get('val', {})),
        val_evaluator=dict(type=Score),
        optim_wrapper=dict(
            dict(optimizer=dict(type='AdamW', lr=0.05)),
            **options.get('optim', {}),
        ),
        param_scheduler=[
            dict(type='WarmupCosineLR', convert_to_iter_based=True, warmup=0.5)
        ],
        default_hooks=dict(
            checkpoint=hook, sampler_seed=dict(type='DistSamplerSeedHook')
        ),
        custom_hooks=[ema, *options.get('custom', [])],
        resume=resume,
        randomness=dict(seed=options.get('seed', 7), diff_rank_seed=ranks > 1),
        default_scope='mmdet',
        experiment_name=f'small_{uuid.uuid4()}',
        log_level='ERROR',
        launcher=cfg.launcher,
        cfg=cfg,
    )


def result(work_dir):
    """What a run leaves behind, without times and places."""
    names = sorted(
        str(p.relative_to(work_dir)) for p in Path(work_dir).glob('*.pth*')
    )
    last = Path(work_dir, 'last_checkpoint').read_text()
    content = torch.load(last, weights_only=False)
    hub = content['message_hub']['runtime_info']
    best = {
        key: str(value).replace(str(work_dir), '')
        for key, value in hub.items()
        if key.startswith('best')
    }
    keys = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')
    weights = [
        torch.load(Path(work_dir, name), weights_only=False)['state_dict']
        for name in names
        if name.startswith('best')
    ]
    return dict(
        {key: content[key] for key in (*keys, 'resume_state')},
        files=names,
        last=Path(last).name,
        best=best,
        best_weights=weights,
        kept=hub.get('keep_ckpt_ids'),
        position=[content['meta'][key] for key in ('epoch', 'iter')],
    )


def same(left, right):
    """Whether two nested results are equal to the last bit."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(
            same(left[key], right[key]) for key in left
        )
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    return left == right


class Killer:
    """Ends the process when it has passed a number of moments.

    A moment is before each hook point, in the middle of and after each write
    to a file, and around each removal.
    """

    def __init__(self, moment):
        self.left = moment
        self.passed = []

    def tick(self, name, file=None):
        self.passed.append(name)
        self.left -= 1
        if self.left == 0:
            if file is not None:
                os.ftruncate(file, os.fstat(file).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, owner, name):
        original = getattr(owner, name)

        def wrapped(*args, **kwargs):
            what = args[1] if name == 'call_hook' else name
            self.tick(f'before {what}', args[0] if name == 'fsync' else None)
            done = original(*args, **kwargs)
            if name != 'call_hook':
                self.tick(f'after {what}')
            return done

        setattr(owner, name, wrapped)

    def install(self):
        self.watch(Runner, 'call_hook')
        self.watch(os, 'fsync')
        self.watch(os, 'replace')
        self.watch(LocalBackend, 'remove')


def forked(work_dir, moment, resume, options):
    """Train in processes of their own; (exit status, moments passed).

    One of them ends itself at the moment, then the others are killed.
    """
    log = Path(work_dir, 'moments.json')
    ranks = options.get('ranks', 1)
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
    children = set()
    for rank in range(ranks):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.environ.update(
                    RANK=str(rank),
                    LOCAL_RANK=str(rank),
                    WORLD_SIZE=str(ranks),
                    MASTER_ADDR='127.0.0.1',
                    MASTER_PORT=str(port),
                )
                killer = Killer(moment if rank == moment % ranks else 0)
                killer.install()
                build(work_dir, resume, **options).train()
                if rank == 0:
                    log.write_text(json.dumps(killer.passed))
                status = 0
            finally:
                os._exit(status)
        children.add(child)
    worst = 0
    while children:
        child, code = os.wait()
        children.discard(child)
        if code:
            worst = worst or os.waitstatus_to_exitcode(code)
            for other in children:
                os.kill(other, signal.SIGKILL)
    return worst, log


def main():
    """Compare killed and resumed runs with an undisturbed one.

    The JSON object on the command line has ``every`` (each which moment is
    tried), ``kills`` (how often a run is killed before it may end) and the
    options of :func:`build`, among them ``ranks``. Prints a JSON object: how
    many moments were tried, how many of these runs were killed, and the
    moments whose results differ.
    """
    options = json.loads(sys.argv[1])
    every, kills = options.pop('every'), options.pop('kills', 1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        calm = Path(folder, 'calm')
        calm.mkdir()
        status, log = forked(calm, 0, False, options)
        assert status == 0, status
        moments = json.loads(log.read_text())
        expected = result(calm)
        tried, killed, different = 0, 0, []
        for moment in range(1, len(moments) + 1, every):
            work_dir = Path(folder, f'killed_{moment}')
            work_dir.mkdir()
            for _ in range(kills):
                killed += forked(work_dir, moment, True, options)[0] != 0
            status, _ = forked(work_dir, 0, True, options)
            tried += 1
            found = result(work_dir) if status == 0 else {}
            wrong = [
                key
                for key in expected
                if not same(found.get(key), expected[key])
            ]
            if wrong:
                different.append([moment, moments[moment - 1], wrong])
    print(json.dumps(dict(tried=tried, killed=killed, different=different)))


if __name__ == '__main__':
    main()
