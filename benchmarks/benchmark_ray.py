"""Measure prediction on Ray: ``benchmark_ray.py nodes|cost|memory``.

nodes   images per second of two Ray nodes with one processor each, by Ray's
        own cluster utility, beside one and two plain processes with one
        thread each, in the same run
cost    images per second of Ray beside a plain loop, everything pinned to one
        processor; Ray's start is given apart
memory  the program's memory while it predicts many small images, one per cent
        of which are broken; a picture and the numbers

Rates are those between a tenth and nine tenths of the images, so that starts
and ends are left out. The model is an exported file.

    benchmarks/benchmark_ray.py nodes nano.onnx photos/ --repeat 4
    benchmarks/benchmark_ray.py memory tiny.onnx --count 100000 --plot m.png
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import clone  # noqa: F401, first: this clone's package
import numpy as np
from options import parser, positive
from paired_rounds import cpu_name
from PIL import Image

# isort: split
from report import table  # noqa: E402

from rfdetr_runtime import load  # noqa: E402
from rfdetr_runtime.image_file import list_images  # noqa: E402
from rfdetr_runtime.scale import FileLoader, predict_on_ray  # noqa: E402
from rfdetr_runtime.scale.session import import_ray  # noqa: E402

_STORE_BYTES = 256 << 20
_SIDE_PX = 16
_BROKEN_EVERY = 100


class Clock:
    """Notes when how many images were done."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.seen: list[tuple[int, float]] = []

    def __call__(self, done: int, total: int) -> None:
        """Take a note; :func:`predict_on_ray` calls it.

        Args:
            done: Images that are done.
            total: All images.
        """
        self.seen.append((done, time.perf_counter() - self.start))

    def rate(self) -> float:
        """Images per second between a tenth and nine tenths of them."""
        last = self.seen[-1][0]
        middle = [x for x in self.seen if 0.1 * last <= x[0] <= 0.9 * last]
        (first, since), (end, until) = middle[0], middle[-1]
        return (end - first) / (until - since)

    def start_up(self) -> float:
        """Seconds until the first images were done."""
        return next(when for done, when in self.seen if done)


def plain(model: str, images: Sequence[str], batch_size: int) -> Clock:
    """Predict in a loop, by one thread.

    Args:
        model: The exported file.
        images: The files.
        batch_size: Images at once.
    """
    clock = Clock()
    loaded = load(model, threads=1)
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        loaded.predict(batch, include_source_image=False)
        clock(start + len(batch), len(images))
    return clock


def plain_processes(
    count: int, model: str, images: Sequence[str], batch_size: int
) -> float:
    """Images per second of plain processes, each pinned to a processor.

    Args:
        count: How many processes.
        model: The exported file.
        images: The files, which each of them predicts.
        batch_size: Images at once.
    """
    request = json.dumps([model, list(images), batch_size])
    processors = sorted(os.sched_getaffinity(0))
    running = [
        subprocess.Popen(
            ['taskset', '-c', str(processors[number % len(processors)])]
            + [sys.executable, __file__, 'plain'],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    for process in running:
        process.stdin.write(request)
        process.stdin.close()
    return sum(float(process.stdout.read()) for process in running)


def on_ray(
    model: str, images: Sequence[str], batch_size: int, **options: Any
) -> Clock:
    """Predict on the Ray that is connected.

    Args:
        model: The exported file.
        images: The files.
        batch_size: Images at once.
        **options: Other options that :func:`predict_on_ray` takes.
    """
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder, 'images.txt')
        names.write_text('\n'.join(images))
        clock = Clock()
        predict_on_ray(
            str(names),
            Path(folder, 'out'),
            FileLoader(model),
            batch_size=batch_size,
            progress=clock,
            **options,
        )
    return clock


@contextmanager
def one_node(num_cpus: int) -> Iterator[None]:
    """Start Ray on this machine for a while.

    Args:
        num_cpus: Processors that it counts on.
    """
    ray = import_ray()
    ray.init(
        address='local',
        num_cpus=num_cpus,
        object_store_memory=_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level='ERROR',
    )
    try:
        yield
    finally:
        ray.shutdown()


def measure_nodes(args: argparse.Namespace) -> dict[str, Any]:
    """Two Ray nodes beside plain processes.

    Args:
        args: The parsed options.
    """
    ray = import_ray()
    from ray.cluster_utils import Cluster

    given = args.model, _images(args), args.batch_size
    found: dict[str, Any] = dict(one=plain_processes(1, *given))
    found['two'] = plain_processes(2, *given)
    node = dict(num_cpus=1, object_store_memory=_STORE_BYTES)
    cluster = Cluster(True, True, head_node_args=node)
    try:
        cluster.add_node(**node)
        clock = on_ray(*given)
    finally:
        ray.shutdown()
        cluster.shutdown()
    found.update(ray=clock.rate(), ray_start_s=clock.start_up())
    found['of_two_plain'] = found['ray'] / found['two']
    print(
        table(
            ['', 'images per second', 'over one process'],
            [
                [name, f'{found[key]:.2f}', f'{found[key] / found["one"]:.3f}']
                for name, key in (
                    ('one plain process', 'one'),
                    ('two plain processes', 'two'),
                    ('two Ray nodes', 'ray'),
                )
            ],
        )
    )
    print(
        f'\nTwo Ray nodes have {found["of_two_plain"]:.3f} of the rate of '
        f'two plain processes; their first images were done after '
        f'{found["ray_start_s"]:.1f} s.'
    )
    return found


def measure_cost(args: argparse.Namespace) -> dict[str, Any]:
    """Ray beside a plain loop, turn by turn, on one processor.

    Args:
        args: The parsed options.
    """
    # What is started from here inherits it.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    given = args.model, _images(args), args.batch_size
    rates: dict[str, list[float]] = dict(plain=[], ray=[])
    starts = []
    begin = time.perf_counter()
    with one_node(1):
        init_s = time.perf_counter() - begin
        for _ in range(args.rounds):
            rates['plain'].append(plain_processes(1, *given))
            clock = on_ray(*given)
            rates['ray'].append(clock.rate())
            starts.append(clock.start_up())
    costs = [p / r - 1 for p, r in zip(rates['plain'], rates['ray'])]
    found = dict(
        **rates,
        cost=costs,
        median_cost=float(np.median(costs)),
        init_s=init_s,
        start_up_s=starts,
    )
    rows = [
        [str(i), f'{p:.2f}', f'{r:.2f}', f'{100 * c:.1f} %']
        for i, (p, r, c) in enumerate(zip(*rates.values(), costs), start=1)
    ]
    print(table(['round', 'plain (images/s)', 'Ray (images/s)', 'cost'], rows))
    print(
        f'\nRay started in {init_s:.1f} s; the first images of a run were '
        f'done after {max(starts):.1f} s at most.'
    )
    return found


def measure_memory(args: argparse.Namespace) -> dict[str, Any]:
    """The program's memory while it predicts many small images.

    Args:
        args: The parsed options.
    """
    seen: list[tuple[int, float]] = []

    def progress(done: int, total: int) -> None:
        if not seen or done - seen[-1][0] >= args.count // 200:
            seen.append((done, resident_mib()))

    with tempfile.TemporaryDirectory() as folder, one_node(2):
        photos = Path(folder, 'photos')
        write_small(photos, args.count)
        begin = time.perf_counter()
        done = predict_on_ray(
            str(photos),
            Path(folder, 'out'),
            FileLoader(args.model),
            batch_size=args.batch_size,
            progress=progress,
        )
        seconds = time.perf_counter() - begin
    early = [mib for n, mib in seen if n >= args.count // 10]
    found = dict(
        num_images=done.num_images,
        num_errors=done.num_errors,
        seconds=seconds,
        growth_mib=max(early) - early[0],
        seen=seen,
    )
    print(
        f'{done.num_images} rows, {done.num_errors} of them errors, in '
        f'{seconds / 60:.1f} minutes; from row {args.count // 10} on the '
        f'memory of the program grew by {found["growth_mib"]:.1f} MiB'
    )
    if args.plot is not None:
        draw(seen, args.plot)
    return found


def write_small(folder: Path, count: int) -> None:
    """Write small images, one per cent of which are broken.

    Args:
        folder: The folder.
        count: How many.
    """
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        data = io.BytesIO()
        shape = (_SIDE_PX, _SIDE_PX, 3)
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(data, 'jpeg')
        content = data.getvalue()
        if number % _BROKEN_EVERY == 7:
            content = content[: len(content) // 2][:20]
        (folder / f'{number:07}.jpg').write_bytes(content)


def resident_mib() -> float:
    """Resident memory of this process in MiB, without what it shares."""
    pages = Path('/proc/self/statm').read_text().split()
    private = int(pages[1]) - int(pages[2])
    return private * os.sysconf('SC_PAGE_SIZE') / 2**20


def draw(seen: Sequence[tuple[int, float]], path: Path) -> None:
    """Draw memory over rows.

    Args:
        seen: Rows and MiB.
        path: The picture.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.5), layout='constrained')
    axes.plot(*zip(*seen, strict=True))
    axes.set(xlabel='rows', ylabel='MiB of the program', ylim=(0, None))
    figure.savefig(path, dpi=120)


def _images(args: argparse.Namespace) -> list[str]:
    files = [str(path.absolute()) for path in list_images(args.images)]
    return files * args.repeat


def _answer() -> None:
    """Be one of :func:`plain_processes`."""
    print(plain(*json.load(sys.stdin)).rate())


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    given = parser('Measure prediction on Ray')
    given.add_argument('what', choices=('nodes', 'cost', 'memory'))
    given.add_argument('model', help='an exported file')
    given.add_argument('images', nargs='?', help='folder, but for memory')
    given.add_argument('--batch-size', type=positive, default=1)
    given.add_argument('--repeat', type=positive, default=1, help='the images')
    given.add_argument('--rounds', type=positive, default=5, help='of cost')
    given.add_argument(
        '--count', type=positive, default=100_000, help='images of memory'
    )
    given.add_argument('--plot', type=Path, help='picture of memory')
    given.add_argument('--json', type=Path, help='write the numbers')
    args = given.parse_args(argv)
    if args.what != 'memory' and args.images is None:
        given.error(f'{args.what} needs a folder of images')
    return args


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print and return the numbers."""
    args = parse_args(argv)
    args.model = str(Path(args.model).absolute())
    # Also on a machine with several: what is compared has one thread.
    os.environ['OMP_NUM_THREADS'] = '1'
    print(f'{cpu_name()}, {os.cpu_count()} processors\n')
    work: Callable[[argparse.Namespace], dict[str, Any]] = dict(
        nodes=measure_nodes, cost=measure_cost, memory=measure_memory
    )[args.what]
    found = dict(processor=cpu_name(), **work(args))
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1))
    return found


if __name__ == '__main__':
    _answer() if sys.argv[1:] == ['plain'] else main()
