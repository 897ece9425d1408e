"""Train for long, be killed often, and end as a training that was not.

A small model is trained twice on drawn shapes, with all seeds fixed: once
without a break, and once killed again and again, at moments that are drawn:
in data loading, validation, checkpoint writing, averaging, resuming, or
anywhere in a step. Weights, averages and the optimizer's state must be equal
to the last bit in the end. The undisturbed training shows whether memory
grows: at most 20 MiB from step 200 to 2 000, and over validations 5 to 50.

``make soak`` runs it, and goes on where it was stopped: the same command
again. ``--quick`` tries everything on a small scale, without the limits of
memory. The result is FOLDER/report.json, with the plot FOLDER/memory.png.
"""

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'demo')]

import torch  # noqa: E402
from tiny_shapes import write_tiny_shapes  # noqa: E402

from rfdetr_mm.checkpoints import atomic_file, read_checkpoint  # noqa: E402

PHASES = (
    'data loading',
    'validation',
    'checkpoint writing',
    'averaging',
    'resuming',
)
BATCH_SIZE = 8
LEAST_KILLS = 3  # in each phase
LIMIT_MIB = 20.0
SPANS = {'step': (200, 2000), 'validation': (5, 50)}
CONFIG = """
_base_ = {base!r}
custom_imports = dict(
    imports=['rfdetr_mm', 'soak_phases'], allow_failed_imports=False)
randomness = dict(seed={seed})
train_cfg = dict(max_epochs={epochs}, val_interval=1)
loader = dict(num_workers=1, persistent_workers=True)
train_dataloader = dict(dataset=dict(data_root={data!r}), **loader)
val_dataloader = dict(dataset=dict(data_root={data!r}), **loader)
test_dataloader = dict(dataset=dict(data_root={data!r}), **loader)
val_evaluator = dict(ann_file={ann_file!r})
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(
    by_epoch=False, interval={interval}, max_keep_ckpts=2))
custom_hooks = _base_.custom_hooks + [dict(type='SoakHook')]
"""


@dataclass
class State:
    """How far a soak is; kept in FOLDER/state.json.

    Args:
        epochs: Epochs of the training.
        images: Images of an epoch.
        kills: How many are planned.
        seed: The seed of everything that is drawn.
        twin_is_done: Whether the undisturbed training has ended.
        done: The kills so far.
        seconds: Spent so far, over all starts.
    """

    epochs: int
    images: int
    kills: int
    seed: int
    twin_is_done: bool = False
    done: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    def plan(self) -> list[str]:
        """The phase of each kill; the first one finds nothing to resume."""
        each = min(LEAST_KILLS, self.kills // len(PHASES))
        names = [*PHASES] * each
        names += ['anywhere'] * (self.kills - len(names))
        drawn = random.Random(self.seed)
        drawn.shuffle(names)
        while names[0] == 'resuming':
            drawn.shuffle(names)
        return names

    def position(self, number: int) -> int:
        """From which iteration on the process of a kill is killed.

        An epoch is left after the last kill, so that its phase comes.
        """
        total = (self.epochs - 1) * self.images // BATCH_SIZE
        drawn = random.Random(f'{self.seed}/{number}').random()
        return int(total * (number + drawn) / (self.kills + 1))

    def write(self, folder: Path) -> None:
        """Keep it."""
        with atomic_file(folder / 'state.json') as file:
            file.write(json.dumps(asdict(self), indent=1).encode())


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--folder', type=Path, default='work_dirs/soak')
    parser.add_argument(
        '--epochs',
        type=int,
        default=160,
        help='default: 160, 25 minutes on two quiet cores',
    )
    parser.add_argument('--images', type=int, default=400, help='of an epoch')
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--quick', action='store_true', help='4 epochs of 24 images, 5 kills'
    )
    args = parser.parse_args(argv)
    if args.quick:
        args.epochs, args.images, args.kills = 4, 24, len(PHASES)
    return args


def start(
    folder: Path, name: str, plan: Mapping[str, Any] | None, resume: bool
) -> int:
    """Train in a process of its own.

    Returns:
        Its exit code, negative for a signal.
    """
    command = [sys.executable, str(ROOT / 'tools/train.py'), 'soak.py']
    command += ['--work-dir', name, *(['--resume'] if resume else [])]
    times = folder / name
    times.mkdir(exist_ok=True)
    paths = (ROOT, ROOT / 'tools/dev', os.environ.get('PYTHONPATH', ''))
    env = dict(
        os.environ,
        CUDA_VISIBLE_DEVICES='',
        OMP_NUM_THREADS='1',
        PYTHONPATH=os.pathsep.join(map(str, paths)),
        SOAK_FOLDER=str(times),
        SOAK_PLAN=json.dumps(plan),
    )
    with open(folder / f'{name}.log', 'a') as log:
        done = subprocess.run(
            command, cwd=folder, env=env, stdout=log, stderr=log
        )
    return done.returncode


def fail(folder: Path, name: str, code: int) -> None:
    """End with the last lines of a training's log."""
    lines = (folder / f'{name}.log').read_text().splitlines()[-20:]
    raise SystemExit('\n'.join([*lines, f'soak: {name} ended with {code}']))


def run_twin(folder: Path, state: State) -> None:
    """Train without a break; one that was stopped is trained again."""
    if state.twin_is_done:
        return
    shutil.rmtree(folder / 'twin', ignore_errors=True)
    code = start(folder, 'twin', None, resume=False)
    if code:
        fail(folder, 'twin', code)
    state.twin_is_done = True


def run_killed(folder: Path, state: State) -> None:
    """Train, be killed as planned, and go on each time, to the end."""
    seconds = json.loads((folder / 'twin' / 'phases.json').read_text())
    # The twin has nothing to resume from. Reading a file takes about so long.
    seconds['resuming'] = 0.1
    for number in range(len(state.done), state.kills):
        began = time.monotonic()
        name = state.plan()[number]
        plan = dict(
            phase=name,
            at=0 if name == 'resuming' else state.position(number),
            seconds=max(seconds.get(name, 0.05), 0.001),
            seed=f'{state.seed}/{number}/kill',
        )
        code = start(folder, 'killed', plan, resume=True)
        if code != -signal.SIGALRM:
            fail(folder, 'killed', code)
        state.done.append(plan)
        state.seconds += time.monotonic() - began
        state.write(folder)
        print(f'kill {number + 1}/{state.kills}: {name}', flush=True)
    code = start(folder, 'killed', None, resume=True)
    if code:
        fail(folder, 'killed', code)


def differences(folder: Path) -> list[str]:
    """Names of what is not equal to the last bit in the two last files."""
    contents = []
    for name in ('twin', 'killed'):
        pointer = (folder / name / 'last_checkpoint').read_text().strip()
        contents.append(read_checkpoint(folder / pointer))
    keys = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')
    found = []
    for key in keys:
        one, other = (dict(_leaves(c[key], key)) for c in contents)
        found += [
            name
            for name in one.keys() | other.keys()
            if not _equal(one.get(name), other.get(name))
        ]
    if contents[0]['meta']['iter'] != contents[1]['meta']['iter']:
        found.append('meta.iter')
    return sorted(found)


def _leaves(node: Any, name: str):
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, f'{name}.{key}')
    elif isinstance(node, (list, tuple)):
        for number, value in enumerate(node):
            yield from _leaves(value, f'{name}.{number}')
    else:
        yield name, node


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    return type(one) is type(other) and one == other


def growth(folder: Path) -> dict[str, float | None]:
    """How much memory grew over each span, in MiB; None if it is too short.

    The median of the tenth of the span at either end is taken: single values
    depend on when the interpreter collected its garbage.
    """
    values: dict[str, dict[int, float]] = {kind: {} for kind in SPANS}
    with open(folder / 'twin' / 'memory.csv') as file:
        for kind, number, mib in csv.reader(file):
            values[kind][int(number)] = float(mib)
    _plot(values, folder / 'memory.png')
    found: dict[str, float | None] = {}
    for kind, (first, last) in SPANS.items():
        tenth = max((last - first) // 10, 1)
        ends = [
            sorted(values[kind].get(i, float('nan')) for i in numbers)
            for numbers in (
                range(first, first + tenth),
                range(last - tenth + 1, last + 1),
            )
        ]
        if last not in values[kind]:
            found[kind] = None
            continue
        before, after = (end[len(end) // 2] for end in ends)
        found[kind] = after - before
    return found


def _plot(values: Mapping[str, Mapping[int, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(values), figsize=(10, 4))
    for axis, (kind, points) in zip(axes, values.items()):
        axis.plot(list(points), list(points.values()))
        axis.set_xlabel(kind)
        axis.set_ylabel('resident memory (MiB)')
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def read_state(folder: Path, args: argparse.Namespace) -> State:
    """The state to go on with.

    Raises:
        SystemExit: If the folder is of a soak with other options.
    """
    wanted = State(args.epochs, args.images, args.kills, args.seed)
    path = folder / 'state.json'
    if not path.is_file():
        return wanted
    state = State(**json.loads(path.read_text()))
    for name in ('epochs', 'images', 'kills', 'seed'):
        if getattr(state, name) != getattr(wanted, name):
            raise SystemExit(
                f'soak: {folder} is of a soak with {name}='
                f'{getattr(state, name)}, not {getattr(wanted, name)}; give '
                'its options again, or another --folder'
            )
    return state


def main(argv: Sequence[str] | None = None) -> int:
    """Soak, report, and return 1 if something is not as it must be."""
    args = parse_args(argv)
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    state = read_state(folder, args)
    data = folder / 'data'
    if not (data / 'val.json').is_file():
        splits = {'train': args.images, 'val': 24, 'test': 1}
        write_tiny_shapes(data, splits)
    base = ROOT / 'configs/rfdetr/rfdetr_tiny_shapes-scratch.py'
    text = CONFIG.format(
        base=str(base),
        seed=state.seed,
        epochs=state.epochs,
        data=f'{data}/',
        ann_file=str(data / 'val.json'),
        interval=max(state.images // BATCH_SIZE // 2, 1),
    )
    (folder / 'soak.py').write_text(text)
    began = time.monotonic()
    run_twin(folder, state)
    state.seconds += time.monotonic() - began
    state.write(folder)
    run_killed(folder, state)
    return report(folder, state, args.quick)


def report(folder: Path, state: State, is_quick: bool) -> int:
    """Write and print the result; 1 if something is not as it must be."""
    kills = Counter(kill['phase'] for kill in state.done)
    different, grown = differences(folder), growth(folder)
    each = 1 if is_quick else LEAST_KILLS
    good = not different and all(kills[name] >= each for name in PHASES)
    if not is_quick:
        good &= all(v is not None and v <= LIMIT_MIB for v in grown.values())
    content = dict(
        is_as_it_must_be=good,
        different=different,
        kills=kills,
        growth_mib=grown,
        minutes=round(state.seconds / 60, 1),
        state=asdict(state),
    )
    (folder / 'report.json').write_text(json.dumps(content, indent=1))
    content.pop('state')
    print(json.dumps(content, indent=1))
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
