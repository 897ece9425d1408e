"""Exported files by rfdetr_runtime beside rfdetr 1.11.2, on a CPU.

``benchmark_runtime.py WEIGHTS --data DIR`` writes files of the same weights
by both packages, one int8 file of ours among them that all rows use, and
measures the time of an image, the start of a process and its peak memory, and
a folder of photographs. ``--rows sizes`` measures new environments, ``--rows
ap`` what int8 costs in AP. rfdetr, openvino and nncf must be installed.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import clone  # noqa: F401  first: this clone's package and tools
import numpy as np
from run_config import input_errors_in_one_line  # noqa: E402

# isort: split
from options import parser, positive  # noqa: E402
from paired_rounds import (  # noqa: E402
    machine,
    paired_rounds,
    ratio,
    run_alone,
    say,
    spread,
)
from report import page, publish, span, table  # noqa: E402
from runtime_files import (  # noqa: E402
    INT8,
    OURS,
    THEIRS,
    Model,
    ap_of_draws,
    draw,
    environment_mb,
    photographs,
)

from rfdetr_runtime import load  # noqa: E402
from rfdetr_runtime.detection_files import to_record  # noqa: E402
from rfdetr_runtime.sessions.openvino import OpenVINOSession  # noqa: E402
from rfdetr_runtime.sessions.session import num_cpus  # noqa: E402

ROWS = ('image', 'start', 'photos', 'sizes', 'ap')
AIMS = {
    'image, int8, each with its own precision': 0.75,
    'image, int8, both with f32': 0.5,
    'start to first detection': 0.2,
    'peak memory of that process': 0.4,
    'photographs, int8': 0.4,
    'photographs, fp32': 0.85,
}
MAX_MB = dict(onnx=200, openvino=330)
RUNS_IN_A_ROW = 4  # without a pause, as in use
# The last line that they print is the peak memory in kB.
PEAK = (
    "; print(next(line.split()[1] for line in open('/proc/self/status') "
    "if line.startswith('VmHWM')))"
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    given = parser(__doc__.splitlines()[0])
    add = given.add_argument
    add('weights', type=Path, help='checkpoint that both packages load')
    add('--data', type=Path, required=True, help='{train,val,test}.json, COCO')
    add('--class-name', default='RFDETRNano', help='of both packages')
    add('--resolution', type=positive, default=384, help='px')
    add('--options', type=json.loads, default={}, help='more of the class')
    add('--rows', nargs='+', choices=ROWS, default=['image', 'start'])
    add('--rounds', type=positive, default=15)
    add('--photographs', type=positive, default=1000)
    add(
        '--batches',
        type=positive,
        nargs='+',
        default=[1, 2, 4, 8, 16],
        help="of rfdetr's predict(); the fastest is taken",
    )
    add('--calibration', type=positive, default=100, help='images')
    add('--draws', type=positive, default=3, help='of these, for --rows ap')
    add(
        '--out',
        type=Path,
        default=Path('work_dirs/benchmark_runtime'),
        help='folder of the report, and of the files, which are used again',
    )
    return given.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print and write the report; return its values."""
    args = parse_args(argv)
    model = Model(args.class_name, args.weights, args.resolution, args.options)
    content: dict[str, Any] = dict(
        command=' '.join(sys.argv), machine=machine(), rows={}, files={}
    )
    with tempfile.TemporaryDirectory() as folder, input_errors_in_one_line():
        if MEASURES.keys() & {*args.rows}:
            images = draw(args.data, 0, args.calibration)
            files = model.export_all(args.out / 'files', images)
            content['files'] = {
                name: weight_mb(file) for name, file in files.items()
            }
            for name, measure in MEASURES.items():
                if name in args.rows:
                    say(f'measuring: {name}')
                    content['rows'].update(
                        measure(args, model, files, Path(folder))
                    )
        if 'sizes' in args.rows:
            content['sizes'] = {
                extra: environment_mb(extra, Path(folder)) for extra in MAX_MB
            }
        if 'ap' in args.rows:
            content['ap'] = ap_of_draws(
                model, args.data, Path(folder), args.calibration, args.draws
            )
    publish(args.out, 'benchmark_runtime', content, report(content))
    return content


def weight_mb(file: Path) -> float:
    """Megabytes of a file, and of its weights beside it."""
    beside = file.with_suffix('.bin')
    return sum(
        path.stat().st_size / 1e6
        for path in {file, beside if file.suffix == '.xml' else file}
    )


def row(
    ours: Sequence[float], theirs: Sequence[float], unit: str, scale: float
) -> dict[str, Any]:
    """What the report says of a row.

    Args:
        ours: Values of the rounds.
        theirs: Values of rfdetr in the same rounds.
        unit: What the table shows.
        scale: From a value to that unit.
    """
    return dict(
        ours=spread([scale * x for x in ours]),
        theirs=spread([scale * x for x in theirs]),
        unit=unit,
        ratio=ratio(ours, theirs),
        rounds=len(ours),
    )


def measure_image(
    args: argparse.Namespace,
    model: Model,
    files: dict[str, Path],
    folder: Path,
) -> dict[str, Any]:
    """Time of a normalised image in each file."""
    side = args.resolution
    image = np.random.default_rng(0).standard_normal((1, 3, side, side))
    image = image.astype(np.float32)

    def work(name: str, precision: str | None) -> Callable[[], None]:
        session = OpenVINOSession(
            files[name], threads=num_cpus(), precision=precision
        )

        def run() -> None:
            for _ in range(RUNS_IN_A_ROW):
                session._run(image)

        return run

    onnx = load(files['onnx'], threads=num_cpus())
    works = {
        'int8': work(INT8, None),
        'int8 f32': work(INT8, 'f32'),
        'fp32 f32': work(OURS, 'f32'),
        'fp32 bf16': work(OURS, 'bf16'),
        'theirs': work(THEIRS, None),
        'theirs f32': work(THEIRS, 'f32'),
        'onnx': lambda: [onnx.run(image) for _ in range(RUNS_IN_A_ROW)],
    }
    times = paired_rounds(works, args.rounds, say)
    scale = 1e3 / RUNS_IN_A_ROW
    pairs = {
        'image, int8, each with its own precision': ('int8', 'theirs'),
        'image, int8, both with f32': ('int8 f32', 'theirs f32'),
        'image, fp32, both with f32': ('fp32 f32', 'theirs f32'),
        'image, fp32 with bf16': ('fp32 bf16', 'theirs'),
        'image, ONNX Runtime, fp32': ('onnx', 'theirs f32'),
    }
    return {
        title: row(times[ours], times[theirs], 'ms', scale)
        for title, (ours, theirs) in pairs.items()
    }


def measure_start(
    args: argparse.Namespace,
    model: Model,
    files: dict[str, Path],
    folder: Path,
) -> dict[str, Any]:
    """From the start of Python to the first detection, and its memory."""
    image = str(draw(args.data, 1, 1)[0])
    ours = (
        f'import rfdetr_runtime; rfdetr_runtime.load({str(files[INT8])!r})'
        f'.predict({image!r}){PEAK}'
    )
    theirs = (
        f'from rfdetr import {model.name}; {model.name}(**{model.options!r})'
        f'.predict({image!r}){PEAK}'
    )
    peaks: dict[str, list[float]] = {'ours': [], 'theirs': []}

    def start(name: str, program: str) -> None:
        peaks[name].append(float(run_alone(['-c', program])))

    works = {
        'ours': partial(start, 'ours', ours),
        'theirs': partial(start, 'theirs', theirs),
    }
    times = paired_rounds(works, args.rounds, say)
    # The first one of each is without a clock.
    mine, its = peaks['ours'][1:], peaks['theirs'][1:]
    return {
        'start to first detection': row(
            times['ours'], times['theirs'], 's', 1
        ),
        'peak memory of that process': row(mine, its, 'MiB', 1 / 1024),
    }


def measure_photos(
    args: argparse.Namespace,
    model: Model,
    files: dict[str, Path],
    folder: Path,
) -> dict[str, Any]:
    """A folder of photographs, from files to JSON, by all processors."""
    folder = folder / 'photographs'
    paths = photographs(args.data, folder, args.photographs)
    share = -(-len(paths) // args.rounds)
    upstream = model.upstream()
    batch = best_batch(upstream, args.batches, paths)
    say(f'rfdetr is fastest by {batch} images at a time')
    works = {
        'theirs': partial(predict_upstream, upstream, batch),
        'int8': partial(predict_ours, load_wide(files[INT8])),
        'fp32': partial(predict_ours, load_wide(files[OURS])),
    }
    parts = {name: cycle(chunks(paths, share)) for name in works}
    target = folder.with_suffix('.json')
    times = paired_rounds(
        {
            name: lambda name=name: target.write_text(
                '\n'.join(works[name](next(parts[name])))
            )
            for name in works
        },
        args.rounds,
        say,
    )
    return {
        f'photographs, {name}': {
            **row(times[name], times['theirs'], 'ms per image', 1e3 / share),
            'batch_of_rfdetr': batch,
        }
        for name in ('int8', 'fp32')
    }


def load_wide(file: Path) -> Any:
    """A file that works on an image with each processor."""
    return load(file, side_by_side=num_cpus())


def chunks(paths: Sequence[Path], size: int) -> list[list[Path]]:
    """Parts of a list, each of so many; the last one begins anew."""
    rest = cycle(paths)
    return [list(islice(rest, size)) for _ in range(-(-len(paths) // size))]


def predict_ours(model: Any, paths: Sequence[Path]) -> Iterator[str]:
    """JSON of each photograph, as ``rfdetr-mm predict --json`` prints it."""
    results = model.predict_each(paths)
    for path, found in zip(paths, results, strict=True):
        yield json.dumps(to_record(str(path), found))


def predict_upstream(
    model: Any, size: int, paths: Sequence[Path]
) -> Iterator[str]:
    """The same numbers by rfdetr's predict()."""
    for start in range(0, len(paths), size):
        batch = [str(path) for path in paths[start : start + size]]
        found = model.predict(batch)
        results = found if isinstance(found, list) else [found]
        for path, one in zip(batch, results, strict=True):
            boxes = [
                dict(
                    class_id=int(label),
                    score=round(float(score), 6),
                    bbox_xyxy_px=[round(float(x), 3) for x in box],
                )
                for box, score, label in zip(
                    one.xyxy, one.confidence, one.class_id
                )
            ]
            yield json.dumps(dict(file=path, detections=boxes))


def best_batch(model: Any, sizes: Sequence[int], paths: Sequence[Path]) -> int:
    """Try how many images rfdetr's predict() should get at a time."""
    few = list(paths[: max(sizes)])
    works = {
        size: partial(
            lambda size: list(predict_upstream(model, size, few)), size
        )
        for size in sizes
    }
    seconds = paired_rounds(works, 1, say)
    return min(sizes, key=lambda size: seconds[size][0])


def report(content: dict[str, Any]) -> str:
    """Lay the values out as Markdown; rows that miss their aim are bold."""
    parts = []
    if content['rows']:
        lines = [line(title, one) for title, one in content['rows'].items()]
        head = ['row', 'rfdetr_mm', 'rfdetr', 'ratio (low to high)', 'aim']
        parts.append(table(head, lines))
    if content.get('sizes'):
        lines = [
            [f'`rfdetr_mm[{extra}]`', marked(f'{mb}', mb > MAX_MB[extra])]
            + [str(MAX_MB[extra])]
            for extra, mb in content['sizes'].items()
        ]
        parts.append(table(['new environment', 'MB', 'at most'], lines))
    for name, losses in content.get('ap', {}).items():
        values = ', '.join(f'{loss:.2f}' for loss in losses['lost'])
        parts.append(
            f'{name}: AP {losses["fp32"]:.2f} in fp32; lost by int8, draw by '
            f'draw: {values}.'
        )
    return page(content, *parts)


def line(title: str, one: dict[str, Any]) -> list[str]:
    """A row of the table."""
    aim, value = AIMS.get(title), one['ratio']['median']
    form = '.0f' if one['unit'] == 'MiB' else '.3g'
    cell = span(one['ratio'], '.3f')
    median, _, rest = cell.partition(' ')
    return [
        f'{title}, {one["unit"]}',
        format(one['ours']['median'], form),
        format(one['theirs']['median'], form),
        f'{marked(median, value > (1 if aim is None else aim))} {rest}',
        '' if aim is None else f'{aim:g}',
    ]


def marked(text: str, missed: bool) -> str:
    """Bold where an aim is missed."""
    return f'**{text}**' if missed else text


MEASURES = dict(
    image=measure_image, start=measure_start, photos=measure_photos
)

if __name__ == '__main__':
    main()
