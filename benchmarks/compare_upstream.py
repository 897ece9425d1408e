"""Time this package beside rfdetr 1.11.2: ``compare_upstream.py``.

Both sides run turn by turn in every round, with the same weights and inputs
and rfdetr's own fast options on, as far as they work on a CPU, or with
``--device cuda`` on a GPU. Writes compare.json and compare.md; every row is
printed, whoever is ahead. Needs ``pip install "rfdetr[train]==1.11.2"``.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import clone  # noqa: F401  first: this clone's package and tools
from run_config import input_errors_in_one_line, stop  # noqa: E402

# isort: split
import numpy as np  # noqa: E402
import torch  # noqa: E402
from arithmetic import flops_of  # noqa: E402
from coco_evaluators import (  # noqa: E402
    our_evaluation,
    synthetic,
    upstream_evaluation,
)
from comparison import Comparison  # noqa: E402
from gpu_rows import GpuComparison  # noqa: E402
from onnx_files import onnx_session  # noqa: E402
from options import parser, positive  # noqa: E402
from paired_rounds import (  # noqa: E402
    call_alone,
    paired_rounds,
    ratio,
    run_alone,
    say,
    spread,
)
from plan import entry_name  # noqa: E402
from records import rows_record, write_record  # noqa: E402
from report import (  # noqa: E402
    or_dash,
    page,
    percent,
    publish,
    ratio_cell,
    span,
    table,
    verdict,
)
from sides import (  # noqa: E402
    CONFIGURATIONS,
    PHASES,
    SIDES,
    Ours,
    PhaseClock,
    Upstream,
    config_file,
    images_of,
    peak_of,
    start_up_code,
)
from upstream import VARIANTS, check_installed  # noqa: E402

from rfdetr_mm.processor import has_bf16_units  # noqa: E402

ROWS = (
    'forward',
    'train_step',
    'train_step_bf16',
    'onnxruntime',
    'predict',
    'data',
    'memory',
    'evaluation',
    'start_up',
)
GPU_ROWS = tuple(CONFIGURATIONS)
NAMES = tuple(
    dict.fromkeys(
        name
        for row in CONFIGURATIONS.values()
        for side in SIDES
        for name in row[side]
    )
)
MEMORY_RUNS = 3  # the C library's holes differ from run to run by 5 %


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    given = parser('Time this package beside rfdetr 1.11.2')
    add = given.add_argument
    rows = f'what is measured; on a GPU there are {" and ".join(GPU_ROWS)}'
    add('--rows', nargs='+', choices=ROWS, default=ROWS, help=rows)
    add('--device', choices=('cpu', 'cuda'), default='cpu', help='of both')
    add('--variant', choices=VARIANTS, default='nano', help='of the model')
    add('--rounds', type=positive, default=5, help='timed, one before')
    add('--batch-size', type=positive, help='of training: 2, on a GPU 16')
    add(
        '--data',
        help='folder of a data set for the row data, instead of files that '
        'are written for it',
    )
    add('--eval-images', type=positive, default=5000, help='of the evaluation')
    add(
        '--eval-rounds',
        type=positive,
        default=1,
        help='of the evaluation; nothing is warmed up if 1',
    )
    add('--out', type=Path, default=Path('work_dirs/compare_upstream'))
    add(
        '--record',
        type=Path,
        help='folder that also gets a file of each row, as docs/benchmarks',
    )
    _add_gpu_options(given)
    args = given.parse_args(argv)
    on_gpu = args.device == 'cuda'
    args.batch_size = args.batch_size or (16 if on_gpu else 2)
    if on_gpu and args.rows is ROWS:
        args.rows = GPU_ROWS
    others = [row for row in args.rows if row not in GPU_ROWS]
    if on_gpu and args.record:
        stop('--record takes rows of a CPU only')
    if on_gpu and others:
        stop(
            f'--device cuda has the rows {" and ".join(GPU_ROWS)}; '
            f'{", ".join(others)}: on a CPU only'
        )
    return args


def _add_gpu_options(given: argparse.ArgumentParser) -> None:
    add = given.add_argument_group('with --device cuda').add_argument
    add(
        '--configurations',
        nargs='+',
        choices=NAMES,
        default=NAMES,
        help='of either side',
    )
    add(
        '--steps',
        type=positive,
        default=8,
        help='training steps in a round; a forward is done more often',
    )
    add(
        '--at-once',
        type=positive,
        help='processes that share the memory of the GPU; they take turns in '
        'computing (4 that train, all of the forward)',
    )
    add(
        '--limit',
        type=positive,
        default=240,
        help='seconds for start and warm-up of a row',
    )


class CpuComparison(Comparison):
    """The rows on a CPU."""

    ours: Ours
    upstream: Upstream
    row = ''  # that is being measured

    def add(
        self,
        what: str,
        seconds: Mapping[str, Sequence[float]],
        unit: str = 'ms',
        flops: Mapping[str, float] | None = None,
    ) -> None:
        """Add a row.

        Args:
            what: What was measured.
            seconds: Seconds of each round, by side; for ``unit`` 'MiB' and
                'images/s' these, not seconds.
            unit: 'ms', 's', 'MiB' or 'images/s'.
            flops: Arithmetic of each side, to compare with the machine's
                limit.
        """
        sides = {side: spread(seconds[side]) for side in SIDES}
        row = dict(
            row=self.row,
            what=what,
            unit=unit,
            sides=sides,
            ratio=ratio(seconds[SIDES[0]], seconds[SIDES[1]]),
            flops=dict(flops) if flops else None,
            rounds={side: list(seconds[side]) for side in SIDES},
        )
        self.content['rows'].append(row)
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
        works = self.pair('forward', 1)
        self.add('forward, eager', self.timed(works), flops=all_flops(works))

    def train_step(self) -> None:
        """A step, and its parts."""
        size, clocks = self.args.batch_size, (PhaseClock(), PhaseClock())
        both = zip((self.ours, self.upstream), clocks)
        steps = [one.train_step(size, clock) for one, clock in both]
        works = dict(zip(SIDES, steps))
        whole = self.timed(works)
        flops = all_flops(works)
        self.add(f'training step, batch {size}', whole, flops=flops)
        timed = slice(1, 1 + self.args.rounds)
        for phase in PHASES:
            parts = [[run[phase] for run in one.runs[timed]] for one in clocks]
            self.add(f'training step: {phase}', dict(zip(SIDES, parts)))

    def train_step_bf16(self) -> None:
        """A step in bfloat16 beside rfdetr's, in float32 on every CPU."""
        if has_bf16_units() is False:
            self.content['skipped']['train_step_bf16'] = (
                'this processor has no units for bfloat16'
            )
            return
        size = self.args.batch_size
        steps = (
            self.ours.train_step(size, in_bf16=True),
            self.upstream.train_step(size),
        )
        self.add(
            f'training step, batch {size}, in bfloat16',
            self.timed(dict(zip(SIDES, steps))),
        )

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
            flops=all_flops(self.pair('forward', 1)),
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
        import benchmark_data

        config = config_file(self.args.variant, 'custom')
        options = [str(config), '--passes', str(self.args.rounds)]
        if self.args.data is not None:
            options += ['--cfg-options', f'data_root={self.args.data}']
        found = benchmark_data.main(options)
        for workers in (0, 2):
            names = (
                f'{workers} workers, ours, normalised in this process',
                f'{workers} workers, rfdetr, normalised by its transforms',
            )
            self.add(
                f'training data, {workers} workers, time per image',
                {side: found[name] for side, name in zip(SIDES, names)},
            )

    def memory(self) -> None:
        """Peak of two training steps, in processes of their own."""
        size = self.args.batch_size
        peaks: dict[str, list[float]] = {side: [] for side in SIDES}
        steps: dict[str, list[float]] = {side: [] for side in SIDES}
        for side in SIDES * MEMORY_RUNS:
            say(f'memory of {side}, in a process of its own')
            before, peak = call_alone(peak_of, side, self.args.variant, size)
            peaks[side].append(peak)
            steps[side].append(peak - before)
        self.add(f'peak memory of training, batch {size}', peaks, unit='MiB')
        self.add(
            f'of that, beyond imports and weights, batch {size}',
            steps,
            unit='MiB',
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
            side: start_up_code(side, self.args.variant, self.weights)
            for side in SIDES
        }
        works['mmdet'] = 'import mmdet.apis'
        works['rfdetr alone'] = 'import rfdetr'
        seconds = self.timed(
            {
                name: partial(run_alone, ['-c', code])
                for name, code in works.items()
            }
        )
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
            self.row = row
            try:
                getattr(self, row)()
            except NotImplementedError as error:
                self.content['skipped'][row] = str(error)

    def markdown(self) -> str:
        """The text of compare.md."""
        return markdown(self.content)


def all_flops(works: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """Arithmetic of the work of each side."""
    return {side: flops_of(work) for side, work in works.items()}


def markdown(content: Mapping[str, Any]) -> str:
    """Put the rows into a table.

    Args:
        content: See :func:`main`.

    Returns:
        The text of the file.
    """
    head = ['', *SIDES, 'ratio (low to high)', 'upper quartile']
    head += ['GFLOP: ours', 'rfdetr', 'of the matmul peak: ours', 'rfdetr']
    lines = []
    for row in content['rows']:
        scale = 1000 if row['unit'] == 'ms' else 1
        spans = [row['sides'][side] for side in SIDES]
        gflops = shares = [None, None]
        if row['flops']:
            counts = [row['flops'][side] for side in SIDES]
            gflops = [count / 1e9 for count in counts]
            shares = [
                count / one['median'] / content['matmul_peak']
                for count, one in zip(counts, spans)
            ]
        lines.append(
            [
                f'{row["what"]} ({row["unit"]})',
                *(span(one, '.4g', scale) for one in spans),
                ratio_cell(row['ratio']),
                format(row['ratio']['upper_quartile'], '.3f'),
                *(or_dash(count, '.4g') for count in gflops),
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


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, write the report and return its content."""
    args = parse_args(argv)
    check_installed()
    kind = CpuComparison
    if args.device == 'cuda':
        kind = GpuComparison
        if not torch.cuda.is_available():
            stop('--device cuda needs a GPU, and torch finds none')
    else:
        os.environ.setdefault('CUDA_VISIBLE_DEVICES', '')
    with input_errors_in_one_line(), tempfile.TemporaryDirectory() as folder:
        comparison = kind(args, Path(folder))
        comparison.check()
        comparison.run()
    content = comparison.content
    publish(args.out, 'compare', content, comparison.markdown())
    for row in args.rows if args.record else ():
        entry = (args.variant, args.batch_size, row)
        kept = rows_record(content, *entry)
        write_record(args.record, entry_name(*entry), kept)
    return content


if __name__ == '__main__':
    main()
