r"""Measure the sub-networks of a supernet and show the best of each speed.

    python tools/nas/search.py CONFIG CKPT --out work_dirs/front
    python tools/nas/search.py CONFIG CKPT --out work_dirs/front \
        --budget 200 --backend onnxruntime --max-latency-ms 8

Nothing is trained: the latency of a sub-network is measured on this device,
its AP on the validation set. Without --budget all points of search_space in
the config are measured (--cfg-options search_space.patch_sizes="[14,16]"
takes fewer), with it as many as NSGA-II of optuna chooses (`pip install
'rfdetr_mm[nas]'`).

The folder gets results.jsonl, from which the same command goes on after an
interruption, results.json, results.csv, front.md and front.png. A name in
the table is what tools/nas/extract.py wants.
"""

import argparse
import itertools
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from run_config import (  # noqa: E402  (puts this clone in front)
    add_cfg_options,
    check_checkpoint,
    input_errors_in_one_line,
    read_config,
    stop,
)

# isort: split
import torch  # noqa: E402
from accuracy import Accuracy  # noqa: E402
from extract import read_weights  # noqa: E402
from front import Measurement, write_results  # noqa: E402
from latency import Latency  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.device import get_device  # noqa: E402
from nsga import choose_points  # noqa: E402
from results_file import ResultsFile  # noqa: E402

from rfdetr_mm.checkpoints import file_md5  # noqa: E402
from rfdetr_mm.datasets import resolve_own_data  # noqa: E402
from rfdetr_mm.errors import InputError  # noqa: E402
from rfdetr_mm.models import SearchSpace, Subnet  # noqa: E402


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Find the best sub-networks of a supernet'
    )
    parser.add_argument('config', help="the supernet's config file")
    parser.add_argument('checkpoint', help="the supernet's checkpoint file")
    parser.add_argument(
        '--out', type=Path, required=True, help='folder for the results'
    )
    parser.add_argument(
        '--budget',
        type=int,
        metavar='N',
        help='measure N sub-networks, chosen by NSGA-II, instead of all',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='of that choice (default: 0)'
    )
    parser.add_argument(
        '--max-latency-ms',
        type=float,
        metavar='MS',
        help='do not evaluate sub-networks that are slower',
    )
    parser.add_argument(
        '--backend',
        default='pytorch',
        help='pytorch (default), onnxruntime, tensorrt or another that '
        'tools/deploy.py exports to: whose latency counts',
    )
    parser.add_argument(
        '--precision',
        choices=['fp32', 'fp16'],
        default='fp32',
        help='of the latency (default: fp32); the AP is that of fp32',
    )
    parser.add_argument(
        '--device', default=get_device(), help='default: the best there is'
    )
    parser.add_argument(
        '--repeats',
        type=int,
        default=15,
        help='timed runs of a sub-network (default: 15)',
    )
    parser.add_argument(
        '--metric',
        help='what is searched for (default: save_best of the config)',
    )
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    for name in ('budget', 'repeats', 'max_latency_ms'):
        value = getattr(args, name)
        if value is not None and value <= 0:
            stop(f'--{name.replace("_", "-")} is positive, got {value}')
    return args


def read_space(cfg: Config) -> SearchSpace:
    """The search space of a config.

    Raises:
        InputError: If it has none.
    """
    if 'search_space' not in cfg:
        raise InputError(
            f'{cfg.filename} is not a supernet, as it has no search_space. '
            'Take one of configs/rfdetr_nas, or the config in the work dir '
            'of its training'
        )
    return SearchSpace.from_config(cfg.search_space)


def device_name(device: str) -> str:
    """What the results call the device."""
    if device.startswith('cuda'):
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f'{platform.machine()} CPU, {threads} threads'


class Search:
    """Measures points and keeps what it has measured.

    Args:
        latency: Times a real point.
        accuracy: Evaluates real points.
        results: What is known already.
        max_latency_ms: Slower points are not evaluated.
        metric: The evaluator's name of what is shown.
        total: Points that will be asked for.
    """

    def __init__(
        self,
        latency: Latency,
        accuracy: Accuracy,
        results: ResultsFile,
        max_latency_ms: float | None,
        metric: str,
        total: int,
    ) -> None:
        self.latency = latency
        self.accuracy = accuracy
        self.results = results
        self.max_latency_ms = max_latency_ms
        self.metric = metric
        self.total = total
        self._done = 0
        self._measured = 0
        self._start = time.monotonic()

    def measure(self, nominal: Sequence[Subnet]) -> list[Measurement]:
        """Measure points that share image size, patches and windows.

        Args:
            nominal: Points of the search space.

        Returns:
            Their measurements, in order.
        """
        real = list(dict.fromkeys(point.rounded() for point in nominal))
        before = self._measured
        for subnet in real:
            if subnet not in self.results.latency_ms:
                self.results.add_latency(subnet, self.latency.measure(subnet))
                self._measured = before + 1
        open_points = [
            subnet
            for subnet in real
            if subnet not in self.results.metrics and self._fast(subnet)
        ]
        if open_points:
            self._measured = before + 1
            for subnet, metrics in zip(
                open_points, self.accuracy.evaluate(open_points)
            ):
                self._check_metric(metrics)
                self.results.add_metrics(subnet, metrics)
        measured = [self._measurement(point) for point in nominal]
        self._done += len(measured)
        self._report(measured)
        return measured

    def _fast(self, subnet: Subnet) -> bool:
        limit = self.max_latency_ms
        return limit is None or self.results.latency_ms[subnet] <= limit

    def _check_metric(self, metrics: dict[str, float]) -> None:
        if self.metric not in metrics:
            raise InputError(
                f'--metric {self.metric}: the evaluator of the config gives '
                f'{", ".join(sorted(metrics))}'
            )

    def _measurement(self, nominal: Subnet) -> Measurement:
        subnet = nominal.rounded()
        fast = self._fast(subnet)
        return Measurement(
            nominal,
            self.results.latency_ms[subnet],
            self.results.metrics[subnet] if fast else None,
        )

    def _report(self, measured: Sequence[Measurement]) -> None:
        passed = time.monotonic() - self._start
        left = passed / self._done * (self.total - self._done) / 60
        for number, point in enumerate(measured, self._done - len(measured)):
            ap = 'too slow'
            if point.metrics is not None:
                ap = f'AP {100 * point.metrics[self.metric]:.1f}'
            print(
                f'[{number + 1}/{self.total}] {point.real}: '
                f'{point.latency_ms:.2f} ms, {ap}'
                + (f', {left:.0f} min left' if self._measured else ''),
                flush=True,
            )


def stems(space: SearchSpace) -> Iterator[list[Subnet]]:
    """All points, in groups that share the backbone's work."""
    for _, group in itertools.groupby(
        space, key=lambda p: (p.resolution, p.patch_size, p.num_windows)
    ):
        yield list(group)


def make_search(
    args: argparse.Namespace, cfg: Config, total: int
) -> tuple[Search, dict]:
    """Set a search up; gives what it is about as well."""
    weights, _ = read_weights(args.checkpoint)
    metric = args.metric or cfg.default_hooks.checkpoint.save_best
    about = dict(
        backend=args.backend,
        precision=args.precision,
        device=device_name(args.device),
        checkpoint=args.checkpoint,
    )
    if Path(args.checkpoint).is_file():
        about['checkpoint_md5'] = file_md5(args.checkpoint)
    options = (cfg, weights)
    search = Search(
        Latency(
            *options,
            args.backend,
            args.device,
            args.precision,
            repeats=args.repeats,
        ),
        Accuracy(*options, args.device),
        ResultsFile(args.out / 'results.jsonl', about),
        args.max_latency_ms,
        metric,
        total,
    )
    return search, about


def main(argv: Sequence[str] | None = None) -> list[Measurement]:
    """Search, write the results and return them."""
    args = parse_args(argv)
    register_all_modules(init_default_scope=True)
    with input_errors_in_one_line(args.verbose):
        cfg = read_config(args)
        space = read_space(cfg)
        check_checkpoint(args.checkpoint, 'the command line')
        resolve_own_data(cfg)
        total = min(args.budget or len(space), len(space))
        search, about = make_search(args, cfg, total)
        measured: list[Measurement] = []
        if args.budget is None:
            for group in stems(space):
                measured += search.measure(group)
        else:
            measured = choose_points(
                space,
                lambda point: search.measure([point])[0],
                search.metric,
                total,
                args.seed,
            )
        front = write_results(measured, search.metric, about, args.out)
    print(f'\n{(args.out / "front.md").read_text()}')
    print(
        f'{len(front)} of {len(measured)} sub-networks are on the front; all '
        f'results are in {args.out}'
    )
    return measured


if __name__ == '__main__':
    main()
