"""Speed and size of exported ONNX files, ours beside rfdetr's own.

``benchmark_export.py CONFIG CHECKPOINT`` exports the same weights by both,
quantises them and runs all files in turn with the same session options, so
that ratios hold on a busy machine too. rfdetr must be installed.
"""

import argparse
import collections
import json
import tempfile
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import clone  # noqa: F401  first: this clone's package and tools
import numpy as np
from run_config import (  # noqa: E402
    add_cfg_options,
    check_checkpoint,
    input_errors_in_one_line,
    read_config,
    require_deploy,
)

# isort: split
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from mmengine.config import Config  # noqa: E402
from onnx_files import export_ours, onnx_session  # noqa: E402
from options import parser, positive  # noqa: E402
from paired_rounds import paired_rounds  # noqa: E402
from report import table, write  # noqa: E402
from upstream import export_like  # noqa: E402

from rfdetr_mm.checkpoints import mmdet_to_upstream  # noqa: E402
from rfdetr_mm.datasets import resolve_own_data  # noqa: E402

BASE, UPSTREAM = 'ours fp32', 'rfdetr fp32'
ANY_BATCH = 'ours any batch'
# Without a pause, as in use: a file that takes turns with others at every run
# finds their weights in the caches and their threads awake.
RUNS_IN_A_ROW = 4
# Same weights, same image: the two graphs must agree before they are timed.
MAX_BOX_DIFFERENCE = 1e-3


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    given = parser(__doc__.splitlines()[0])
    add = given.add_argument
    add('config', help='config of the model')
    add('checkpoint', help='its weights')
    add('--rounds', type=positive, default=20, help='timed, one before')
    add('--threads', type=int, default=0, help='0 for all cores')
    add('--batch', type=positive, default=8, help='images')
    add('--calibration', type=int, default=20, help='images for static int8')
    add(
        '--profile',
        action='store_true',
        help='time per kind of operator of each file as well',
    )
    add('--out', type=Path, help='keep the files and the table in this folder')
    add_cfg_options(given)
    return given.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> dict:
    """Export, measure, print and write the table; return its values."""
    args = parse_args(argv)
    check_checkpoint(args.checkpoint, 'the command line')
    with tempfile.TemporaryDirectory() as folder, input_errors_in_one_line():
        require_deploy()
        cfg = read_config(args)
        resolve_own_data(cfg)
        files = make_files(args, cfg, args.out or Path(folder))
        result = measure(args, files)
        if args.profile:
            for name, file in files.items():
                result['profiles'][name] = profile(args, file, folder)
            result['profiles'][f'batch of {args.batch}'] = profile(
                args, files[ANY_BATCH], folder, args.batch
            )
    text = markdown(result)
    print(text)
    if args.out is not None:
        write(args.out, 'benchmark_export', result, text)
    return result


def make_files(
    args: argparse.Namespace, cfg: Config, folder: Path
) -> dict[str, Path]:
    """Export all files.

    Args:
        args: The command line.
        cfg: Config of the model.
        folder: Folder for the files.

    Returns:
        Files by name.
    """
    from mmdeploy.apis import build_task_processor

    from rfdetr_mm.deploy.calibration import dataset_calibration
    from rfdetr_mm.deploy.export import TASKS, deploy_config, image_size
    from rfdetr_mm.deploy.quantization import quantize

    task = TASKS[cfg.model.bbox_head.type == 'RFDETRInsHead']
    static = deploy_config(task, 'onnxruntime', layout='raw')
    processor = build_task_processor(cfg, static, 'cpu')
    ours = partial(export_ours, cfg, args.checkpoint, layout='raw')
    files = {BASE: ours(folder / 'raw')}
    size = image_size(cfg, static)
    model = processor.build_pytorch_model(args.checkpoint)
    weights, _ = mmdet_to_upstream(model.state_dict())
    files[UPSTREAM] = export_like(cfg, weights, size, folder / 'rfdetr')
    images = dataset_calibration(cfg, processor)
    images = list(islice(images, args.calibration))
    for kind, batches in (('int8-dynamic', None), ('int8', images)):
        target = folder / f'{kind}.onnx'
        quantize(files[BASE], target, batches)
        files[f'ours {kind}'] = target
    files[ANY_BATCH] = ours(folder / 'any_batch', dynamic_batch=True)
    return files


def example(file: Path, batch_size: int = 1) -> dict[str, np.ndarray]:
    """Random images of a file's size."""
    (given,) = onnx.load(str(file), load_external_data=False).graph.input
    dims = [d.dim_value for d in given.type.tensor_type.shape.dim]
    shape = (dims[0] or batch_size, *dims[1:])
    values = np.random.default_rng(0).standard_normal(shape)
    return {given.name: values.astype(np.float32)}


def measure(args: argparse.Namespace, files: dict[str, Path]) -> dict:
    """Time all files in turn, and describe them.

    Args:
        args: The command line.
        files: Files by name.

    Returns:
        ``files``: by name, milliseconds, ratio to ours in float32 (median
        of the rounds' ratios), megabytes and nodes; ``batch``: throughput
        of a batch over that of single images.
    """
    runs = {
        name: (onnx_session(file, args.threads), example(file))
        for name, file in files.items()
    }
    runs[f'batch of {args.batch}'] = (
        runs[ANY_BATCH][0],
        example(files[ANY_BATCH], args.batch),
    )
    first = {name: s.run(None, x) for name, (s, x) in runs.items()}
    apart = np.abs(first[BASE][0] - first[UPSTREAM][0]).max()
    if not apart <= MAX_BOX_DIFFERENCE:
        raise RuntimeError(
            f'the two exports of the same weights differ by {apart} of the '
            'image in a box; there is no point in timing them'
        )
    works = {name: partial(run_in_a_row, *run) for name, run in runs.items()}
    seconds = paired_rounds(works, args.rounds)
    times = {n: np.array(v) / RUNS_IN_A_ROW for n, v in seconds.items()}
    singles = times[ANY_BATCH]
    rows = {
        name: dict(
            ms=1e3 * float(np.median(times[name])),
            ratio=float(np.median(times[name] / times[BASE])),
            megabytes=file.stat().st_size / 1e6,
            nodes=len(onnx.load(str(file)).graph.node),
        )
        for name, file in files.items()
    }
    per_image = times[f'batch of {args.batch}'] / args.batch
    return dict(
        files=rows,
        batch=float(np.median(singles / per_image)),
        batch_size=args.batch,
        rounds=args.rounds,
        box_difference=float(apart),
        profiles={},
    )


def run_in_a_row(
    opened: onnxruntime.InferenceSession, images: dict[str, np.ndarray]
) -> None:
    """Run a file ``RUNS_IN_A_ROW`` times."""
    for _ in range(RUNS_IN_A_ROW):
        opened.run(None, images)


def profile(
    args: argparse.Namespace, file: Path, folder: str, batch_size: int = 1
) -> dict[str, list[float]]:
    """Milliseconds of each kind of operator for an image.

    Args:
        args: The command line.
        file: The model.
        folder: Folder for the trace.
        batch_size: Images at once, of a file that takes any number.

    Returns:
        By kind, how many and the sum of their median times.
    """
    traced = onnx_session(
        file,
        args.threads,
        enable_profiling=True,
        profile_file_prefix=str(Path(folder, 'trace')),
    )
    images = example(file, batch_size)
    for _ in range(max(args.rounds // 2, 1)):
        traced.run(None, images)
    events = json.loads(Path(traced.end_profiling()).read_text())
    nodes = collections.defaultdict(list)
    for event in events:
        if event['name'].endswith('_kernel_time'):
            kind = event['args']['op_name']
            nodes[kind, event['name']].append(event['dur'] / 1e3)
    kinds: dict[str, list[float]] = {}
    for (kind, _), values in nodes.items():
        total = kinds.setdefault(kind, [0, 0.0])
        total[0] += 1
        total[1] += float(np.median(values)) / batch_size
    return dict(sorted(kinds.items(), key=lambda item: -item[1][1]))


def markdown(result: dict) -> str:
    """Lay the values out as Markdown."""
    rows = [
        [
            name,
            f'{row["ms"]:.1f}',
            f'{row["ratio"]:.3f}',
            f'{row["megabytes"]:.1f}',
            str(row['nodes']),
        ]
        for name, row in result['files'].items()
    ]
    ours_to_theirs = 1 / result['files'][UPSTREAM]['ratio']
    parts = [
        table(['file', 'ms', 'of ours fp32', 'MB', 'nodes'], rows),
        f'ours fp32 takes {ours_to_theirs:.3f} of the time of rfdetr fp32; '
        f'a batch of {result["batch_size"]} has {result["batch"]:.2f} times '
        f'the throughput of single images ({result["rounds"]} rounds).',
    ]
    for name, kinds in result['profiles'].items():
        most = [
            f'{kind} x{count} {ms:.1f} ms'
            for kind, (count, ms) in list(kinds.items())[:12]
        ]
        parts.append(f'{name}: {", ".join(most)}')
    return '\n\n'.join([*parts, *batch_table(result)]) + '\n'


def batch_table(result: dict) -> list[str]:
    """What an image costs alone and in a batch; nothing without profiles."""
    profiles = result['profiles']
    batch = f'batch of {result["batch_size"]}'
    if batch not in profiles:
        return []
    alone, together = profiles[ANY_BATCH], profiles[batch]
    # Whatever is fused is the same at all sizes.
    rows = [
        [f'{kind} x{count}', f'{ms:.1f}', f'{together[kind][1]:.1f}']
        for kind, (count, ms) in alone.items()
    ]
    sums = [sum(ms for _, ms in p.values()) for p in (alone, together)]
    rows.append(['all', *(f'{ms:.1f}' for ms in sums)])
    return [table(['operator', 'ms', f'ms in a {batch}'], rows)]


if __name__ == '__main__':
    main()
