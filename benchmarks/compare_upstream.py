"""Time this package beside rfdetr 1.11.2: ``compare_upstream.py``.

Both sides run turn by turn in every round, with the same weights and inputs
and rfdetr's own fast options on, as far as they work on a CPU, or with
``--device cuda`` on a GPU. Writes compare.json and compare.md; every row is
printed, whoever is ahead. Needs ``pip install "rfdetr[train]==1.11.2"``.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from clone import ROOT
from run_config import input_errors_in_one_line, stop  # noqa: E402

# isort: split
import numpy as np  # noqa: E402
from coco_evaluators import (  # noqa: E402
    our_evaluation,
    synthetic,
    upstream_evaluation,
)
from gpu_rows import (  # noqa: E402
    GPU_ROWS,
    add_gpu_options,
    compare_on_gpu,
)
from paired_rounds import (  # noqa: E402
    machine,
    matmul_peak,
    onnx_session,
    paired_rounds,
    peak_mib,
    ratio,
    run_alone,
    say,
    spread,
)
from report import (  # noqa: E402
    page,
    percent,
    publish,
    ratio_cell,
    span,
    table,
    verdict,
)
from sides import (  # noqa: E402
    PHASES,
    SIDES,
    Ours,
    PhaseClock,
    Upstream,
    agreement,
    images_of,
    start_up_code,
)
from upstream import VARIANTS, check_installed  # noqa: E402

ROWS = (
    'forward',
    'train_step',
    'onnxruntime',
    'predict',
    'data',
    'memory',
    'evaluation',
    'start_up',
)
MEMORY_RUNS = 3  # the C library's holes differ from run to run by 5 %
TOLERANCE = 2e-3  # of logits and boxes, before anything is timed


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Time this package beside rfdetr 1.11.2'
    )
    parser.add_argument(
        '--rows',
        nargs='+',
        choices=ROWS,
        help='what is measured (default: everything; on a GPU there are '
        f'{" and ".join(GPU_ROWS)})',
    )
    parser.add_argument(
        '--device',
        choices=('cpu', 'cuda'),
        default='cpu',
        help='(default: cpu)',
    )
    parser.add_argument(
        '--variant', choices=VARIANTS, default='nano', help='(default: nano)'
    )
    parser.add_argument(
        '--rounds', type=int, default=5, help='timed, one before (default: 5)'
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        help='of training (default: 2, on a GPU 16)',
    )
    add_gpu_options(parser)
    parser.add_argument(
        '--data', help='folder of a data set, for the row data'
    )
    parser.add_argument(
        '--eval-images', type=int, default=5000, help='(default: 5000)'
    )
    parser.add_argument(
        '--eval-rounds',
        type=int,
        default=1,
        help='of the evaluation; nothing is warmed up if 1 (default: 1)',
    )
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/compare_upstream')
    )
    parser.add_argument('--peak-of', choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    _complete(args)
    return args


def _complete(args: argparse.Namespace) -> None:
    """Fill in what depends on the device.

    Raises:
        SystemExit: If options make no sense.
    """
    on_gpu = args.device == 'cuda'
    if args.batch_size is None:
        args.batch_size = 16 if on_gpu else 2
    if args.rows is None:
        args.rows = list(GPU_ROWS if on_gpu else ROWS)
    names = ['rounds', 'batch_size', 'eval_images', 'eval_rounds']
    for name in [*names, 'steps', 'at_once', 'limit']:
        value = getattr(args, name)
        if value is not None and value < 1:
            option = '--' + name.replace('_', '-')
            stop(f'{option} must be positive, got {value}')
    others = [row for row in args.rows if row not in GPU_ROWS]
    if on_gpu and others:
        stop(
            f'--device cuda has the rows {" and ".join(GPU_ROWS)}; '
            f'{", ".join(others)}: on a CPU only'
        )


class Comparison:
    """The rows that were asked for.

    Args:
        args: The command line.
        folder: Folder for temporary files.
    """

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder = args, folder
        self.rows: list[dict[str, Any]] = []
        self.skipped: dict[str, str] = {}
        self.upstream = Upstream(args.variant)
        self.weights = folder / 'weights.pth'
        self.upstream.save(self.weights)
        self.ours = Ours(args.variant, self.weights)
        outputs = [one.forward(1)() for one in (self.ours, self.upstream)]
        difference = agreement(*outputs, TOLERANCE)['largest']
        say(f'largest difference of logits and boxes: {difference:.2g}')
        if difference > TOLERANCE:
            stop(f'the sides differ by {difference:.2g}: nothing is timed')

    def add(
        self,
        what: str,
        seconds: Mapping[str, Sequence[float]],
        unit: str = 'ms',
        flops: float | None = None,
    ) -> None:
        """Add a row.

        Args:
            what: What was measured.
            seconds: Seconds of each round, by side; for ``unit`` 'MiB' and
                'images/s' these, not seconds.
            unit: 'ms', 's', 'MiB' or 'images/s'.
            flops: Arithmetic of it, to compare with the machine's limit.
        """
        sides = {side: spread(seconds[side]) for side in SIDES}
        row = dict(
            what=what,
            unit=unit,
            sides=sides,
            ratio=ratio(seconds[SIDES[0]], seconds[SIDES[1]]),
            flops=flops,
            rounds={side: list(seconds[side]) for side in SIDES},
        )
        self.rows.append(row)
        say(f'{what}: ratio {row["ratio"]["median"]:.3f}')

    def timed(
        self, works: Mapping[str, Callable[[], Any]]
    ) -> dict[str, list[float]]:
        """Both sides turn by turn."""
        return paired_rounds(works, self.args.rounds, say)

    def pair(
        self, method: str, *arguments: Any
    ) -> dict[str, Callable[[], Any]]:
        """A work of each side, by the name of the side."""
        return {
            side: getattr(one, method)(*arguments)
            for side, one in zip(SIDES, (self.ours, self.upstream))
        }

    def forward(self) -> None:
        """From normalised images to logits and boxes, batch 1."""
        flops = forward_flops(self.ours)
        self.add(
            'forward, eager', self.timed(self.pair('forward', 1)), flops=flops
        )

    def train_step(self) -> None:
        """A step, and its parts."""
        clocks = {side: PhaseClock() for side in SIDES}
        works = {
            side: one.train_step(self.args.batch_size, clocks[side])
            for side, one in zip(SIDES, (self.ours, self.upstream))
        }
        whole = self.timed(works)
        self.add(f'training step, batch {self.args.batch_size}', whole)
        for phase in PHASES:
            parts = {
                side: [run[phase] for run in clocks[side].runs[1:]]
                for side in SIDES
            }
            self.add(f'training step: {phase}', parts)

    def onnxruntime(self) -> None:
        """Each side's export of logits and boxes, batch 1."""
        files = self.pair('onnx_file', self.folder)
        images = images_of(1, self.ours.size)
        works = {}
        for side, file in files.items():
            session = onnx_session(file)
            feed = {session.get_inputs()[0].name: images.numpy()}
            works[side] = partial(session.run, None, feed)
        self.add(
            'ONNX Runtime',
            self.timed(works),
            flops=forward_flops(self.ours),
        )

    def predict(self) -> None:
        """One 640 x 480 array to detections; last, it switches rfdetr."""
        rng = np.random.default_rng(0)
        image = rng.integers(0, 255, (480, 640, 3), dtype=np.uint8)
        inferencer, theirs = self.pair('predict', image).values()
        wrapper = self.ours.wrapper()
        same_class = {
            SIDES[0]: lambda: wrapper.predict(image, threshold=0.0),
            SIDES[1]: theirs,
        }
        mmdets = {SIDES[0]: inferencer, SIDES[1]: theirs}
        self.add('predict, eager', self.timed(same_class))
        self.add('predict, RFDETRInferencer, eager', self.timed(mmdets))
        wrapper.optimize_for_inference(batch_size=1)
        self.upstream.optimize(1)
        self.add('predict, both by TorchScript', self.timed(same_class))
        self.add(
            "predict, RFDETRInferencer, rfdetr's by TorchScript",
            self.timed(mmdets),
        )

    def data(self) -> None:
        """Training batches from files, by benchmark_data.py."""
        if self.args.data is None:
            self.skipped['data'] = 'no --data was given'
            return
        import benchmark_data

        config = ROOT / 'configs' / 'rfdetr' / 'rfdetr_nano_custom.py'
        medians = benchmark_data.main(
            [str(config), '--passes', str(self.args.rounds)]
            + ['--cfg-options', f'data_root={self.args.data}']
        )
        theirs = 'rfdetr, normalised by its transforms'
        for workers in (0, 2):
            name = f'{workers} workers, '
            self.add(
                f'training data, {workers} workers, time per image',
                {
                    SIDES[0]: [
                        1 / medians[name + 'ours, normalised in this process']
                    ],
                    SIDES[1]: [1 / medians[name + theirs]],
                },
            )

    def memory(self) -> None:
        """Peak of two training steps, in processes of their own."""
        peaks: dict[str, list[float]] = {side: [] for side in SIDES}
        steps: dict[str, list[float]] = {side: [] for side in SIDES}
        for side in SIDES * MEMORY_RUNS:
            say(f'memory of {side}, in a process of its own')
            line = run_alone(
                [__file__, '--peak-of', side]
                + ['--variant', self.args.variant]
                + ['--batch-size', str(self.args.batch_size)]
            )
            before, peak = map(float, line.split())
            peaks[side].append(peak)
            steps[side].append(peak - before)
        batch = f'batch {self.args.batch_size}'
        self.add(f'peak memory of training, {batch}', peaks, unit='MiB')
        self.add(
            f'of that, beyond imports and weights, {batch}', steps, unit='MiB'
        )

    def evaluation(self) -> None:
        """AP of 300 synthetic detections in every image."""
        images = synthetic(self.args.eval_images, 300)
        theirs = upstream_evaluation(images)
        for metric_type in ('NamedCocoMetric', 'VernierCocoMetric'):
            ours = our_evaluation(images, self.folder, metric_type)
            found, seconds = {}, {side: [] for side in SIDES}
            for number in range(self.args.eval_rounds):
                for side, work in zip(SIDES, (ours, theirs)):
                    say(f'{metric_type}: {side}, round {number + 1}')
                    start = time.perf_counter()
                    found[side] = work()
                    seconds[side].append(time.perf_counter() - start)
            say(f'AP: {found}')
            self.add(
                f'COCO evaluation, {len(images)} images x 300, {metric_type}',
                seconds,
                unit='s',
            )

    def start_up(self) -> None:
        """From the imports to the first prediction, new processes."""
        works = {
            side: _program(
                start_up_code(side, self.args.variant, self.weights)
            )
            for side in SIDES
        }
        works['mmdet'] = _program('import mmdet.apis\nprint(0)')
        works['rfdetr alone'] = _program('import rfdetr\nprint(0)')
        seconds = self.timed(works)
        imports = [seconds['mmdet'], seconds['rfdetr alone']]
        self.add('start-up to the first prediction', seconds, unit='s')
        self.add(
            'of that, import of mmdet.apis and of rfdetr',
            dict(zip(SIDES, imports)),
            unit='s',
        )
        beyond = {
            side: [max(a - b, 1e-3) for a, b in zip(seconds[side], alone)]
            for side, alone in zip(SIDES, imports)
        }
        self.add('start-up beyond these imports', beyond, unit='s')

    def run(self) -> None:
        """All rows in the order of ``ROWS``; predict after the others."""
        wanted = [row for row in ROWS if row in self.args.rows]
        for row in sorted(wanted, key=lambda row: row == 'predict'):
            say(f'--- {row}')
            try:
                getattr(self, row)()
            except NotImplementedError as error:
                self.skipped[row] = str(error)


def forward_flops(ours: Ours) -> int:
    """Of one image, both sides alike; benchmark.py's count."""
    from benchmark import Subject

    subject = Subject('', ours.cfg, None, (ours.size, ours.size))
    return subject.flops()


def _program(code: str) -> Callable[[], Any]:
    return lambda: run_alone(['-c', code])


def markdown(content: Mapping[str, Any]) -> str:
    """Put the rows into a table.

    Args:
        content: See :func:`main`.

    Returns:
        The text of the file.
    """
    head = ['', *SIDES, 'ratio (low to high)', 'of the matmul peak: ours']
    head += ['rfdetr']
    lines = []
    for row in content['rows']:
        scale = 1000 if row['unit'] == 'ms' else 1
        spans = [row['sides'][side] for side in SIDES]
        shares = [None, None]
        if row['flops']:
            speeds = [row['flops'] / one['median'] for one in spans]
            shares = [speed / content['matmul_peak'] for speed in speeds]
        lines.append(
            [
                f'{row["what"]} ({row["unit"]})',
                *(span(one, '.4g', scale) for one in spans),
                ratio_cell(row['ratio']),
                *map(percent, shares),
            ]
        )
    slower = [r['what'] for r in content['rows'] if r['ratio']['median'] > 1]
    return page(
        content,
        f'Matrix products reach {content["matmul_peak"] / 1e9:.0f} GFLOP/s '
        'here. Ratios are ours over rfdetr, round by round: below 1 ours is '
        'ahead.',
        table(head, lines),
        verdict(slower),
    )


def peak_of(args: argparse.Namespace) -> tuple[float, float]:
    """Peak memory in MiB before and after two training steps of one side."""
    side = {'rfdetr_mm': Ours, 'rfdetr': Upstream}[args.peak_of]
    step = side(args.variant).train_step(args.batch_size, PhaseClock())
    before = peak_mib()
    for _ in range(2):
        step()
    return before, peak_mib()


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, write the report and return its content."""
    args = parse_args(argv)
    check_installed()
    if args.device == 'cuda':
        return compare_on_gpu(args)
    os.environ.setdefault('CUDA_VISIBLE_DEVICES', '')
    if args.peak_of:
        print(*peak_of(args))
        return {}
    found = machine()
    with input_errors_in_one_line(), tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(args, Path(folder))
        comparison.run()
    content = dict(
        command=' '.join(sys.argv),
        machine=found,
        matmul_peak=matmul_peak(),
        rows=comparison.rows,
        skipped=comparison.skipped,
    )
    publish(args.out, 'compare', content, markdown(content))
    return content


if __name__ == '__main__':
    main()
