"""Is an exported model the same model? Runs both on a data set and compares.

``check_export.py CONFIG CHECKPOINT FILES...`` prints a table, writes it with
``--out``, and ends with status 1 if a file is beyond the limits. Those of all
kinds hold for float32 files, one of AP for calibrated int8 files; for others
only those that are given.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from run_config import (  # noqa: E402
    add_cfg_options,
    check_checkpoint,
    input_errors_in_one_line,
    read_config,
    require_deploy,
    stop,
)

# isort: split
import torch  # noqa: E402
from export_parity import (  # noqa: E402
    AveragePrecision,
    Difference,
    is_undecided,
)
from mmengine.config import Config  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from torch import nn  # noqa: E402

from rfdetr_mm.datasets import resolve_own_data  # noqa: E402
from rfdetr_mm.errors import InputError  # noqa: E402
from rfdetr_mm.sizes.config_facts import size_of_tests  # noqa: E402
from rfdetr_runtime import load, read_metadata  # noqa: E402
from rfdetr_runtime.facts import KEYPOINTS  # noqa: E402

BACKENDS = {
    '.onnx': 'onnxruntime',
    '.xml': 'openvino',
    '.tflite': 'tflite',
    '.pte': 'executorch',
    '.ncnn': 'ncnn',
}
PYTORCH = 'PyTorch'
LIMITS = dict(box_px=0.05, score=1e-3, ap=0.1, mask_iou=0.99, keypoint_px=0.05)
# Int8 moves boxes and scores; what counts is AP. OpenVINO's loses least.
INT8_AP = {'.xml': 0.6}
OTHER_INT8_AP = 1.0
MAX_UNDECIDED = 0.5  # of the images


@dataclass
class Row:
    """What the table says about a model."""

    name: str
    precision: str
    latency_ms: float
    ap: dict[str, float]
    difference: Difference | None = None
    images: int = 0

    def failures(
        self, reference: 'Row', limits: dict[str, float | None]
    ) -> list[str]:
        """Say which limits are exceeded.

        Args:
            reference: PyTorch's row.
            limits: Limits by name; None stands for any value.
        """
        usual = self._usual_limits()
        limits = {
            name: usual.get(name) if value is None else value
            for name, value in limits.items()
        }
        diff, found = self.difference, []

        def check(name: str, value: float, above: bool = True) -> None:
            limit = limits[name]
            if limit is None:
                return
            if (value > limit) if above else (value < limit):
                found.append(f'{name} {value:.6g} (limit {limit:g})')

        check('box_px', diff.box_px)
        check('score', diff.score)
        if limits['box_px'] is not None and diff.matched < diff.expected:
            found.append(f'matched {diff.matched} of {diff.expected}')
        if diff.non_finite:
            found.append(
                f'{diff.non_finite} detections are not finite (nan or inf), '
                'of PyTorch or of the file'
            )
        if diff.undecided > MAX_UNDECIDED * self.images:
            found.append(
                f'undecided {diff.undecided} of {self.images} images (limit '
                f'{MAX_UNDECIDED:.0%})'
            )
        for kind, ap in self.ap.items():
            check('ap', abs(ap - reference.ap[kind]))
        if diff.mask_iou is not None:
            check('mask_iou', diff.mask_iou, above=False)
        if diff.keypoint_px is not None:
            check('keypoint_px', diff.keypoint_px)
        return found

    def _usual_limits(self) -> dict[str, float]:
        """The limits of a precision, where the command line has none."""
        if self.precision == 'fp32':
            return LIMITS
        if self.precision == 'int8':
            suffix = Path(self.name).suffix
            return dict(ap=INT8_AP.get(suffix, OTHER_INT8_AP))
        return {}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config of the model')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument(
        'files',
        nargs='+',
        metavar='FILE',
        help='exported model: *.onnx, *.xml (OpenVINO), *.tflite, *.pte '
        '(ExecuTorch), *.ncnn; or DEPLOY_CONFIG:FILE for another kind',
    )
    parser.add_argument(
        '--data', help="data set, instead of the config's data_root"
    )
    parser.add_argument('--split', choices=['val', 'test'], default='test')
    parser.add_argument(
        '--images', type=int, help='only so many images (default: all)'
    )
    for name, help_text in (
        ('box-px', 'difference of a coordinate, px'),
        ('score', 'difference of a score'),
        ('ap', 'difference of AP, points'),
        ('mask-iou', 'mean IoU of masks, at least'),
        ('keypoint-px', 'difference of a coordinate of a keypoint, px'),
    ):
        parser.add_argument(
            f'--{name}',
            type=float,
            help=f'limit: {help_text} (default for float32: '
            f'{LIMITS[name.replace("-", "_")]:g})',
        )
    parser.add_argument('--device', default='cpu', help='such as cuda:0')
    parser.add_argument(
        '--out', type=Path, help='write DIR/check_export.{md,json}'
    )
    add_cfg_options(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> list[str]:
    """Compare, print and write the table; return what failed."""
    args = parse_args(argv)
    check_checkpoint(args.checkpoint, 'the command line')
    with input_errors_in_one_line(args.verbose):
        require_deploy()
        rows = compare(args)
    limits = {name: getattr(args, name) for name in LIMITS}
    reference, *others = rows
    failures = [
        f'{row.name}: {failure}'
        for row in others
        for failure in row.failures(reference, limits)
    ]
    text = table(rows)
    print(text)
    print('\n'.join(failures) or 'all within the limits')
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / 'check_export.md').write_text(text)
        (args.out / 'check_export.json').write_text(
            json.dumps(dict(rows=to_json(rows), failures=failures), indent=1)
        )
    return failures


def compare(args: argparse.Namespace) -> list[Row]:
    """Run all models on the data set.

    Args:
        args: The command line.

    Returns:
        PyTorch's row and one for each file.
    """
    from mmdeploy.apis import build_task_processor

    cfg = read_config(args)
    if args.data is not None:
        cfg.data_root = args.data
    resolve_own_data(cfg)
    exported = [find_deploy_config(file) for file in args.files]
    for file, deploy_cfg, _ in exported:
        check_size_of_file(cfg, file, deploy_cfg)
    tasks = [build_task_processor(cfg, c, args.device) for _, c, _ in exported]
    models = {PYTORCH: tasks[0].build_pytorch_model(args.checkpoint)}
    precisions = {PYTORCH: 'fp32'}
    for task, (file, _, precision) in zip(tasks, exported):
        models[str(file)] = task.build_backend_model([str(file)])
        precisions[str(file)] = precision
    loader_cfg = cfg[f'{args.split}_dataloader']
    loader_cfg.update(num_workers=0, persistent_workers=False, batch_size=1)
    loader_cfg.dataset = tasks[0].build_dataset(
        dict(loader_cfg.dataset, indices=args.images)
    )
    loader = Runner.build_dataloader(loader_cfg, seed=0)
    evaluator = cfg[f'{args.split}_evaluator']
    with tempfile.TemporaryDirectory() as folder:
        aps = {
            name: AveragePrecision(
                evaluator, loader.dataset.metainfo, Path(folder), f'model{i}'
            )
            for i, name in enumerate(models)
        }
        differences, times, img_ids = run(models, precisions, loader, aps)
        return [
            Row(
                name,
                precisions[name],
                1e3 * float(np.median(times[name])),
                aps[name].compute(img_ids),
                differences.get(name),
                len(img_ids),
            )
            for name in models
        ]


def find_deploy_config(file: str) -> tuple[Path, Config, str]:
    """Find out how a file is read.

    Args:
        file: FILE or DEPLOY_CONFIG:FILE.

    Returns:
        The file, its deploy config and its precision.

    Raises:
        InputError: If it cannot be loaded, or is not a detector.
    """
    from rfdetr_mm.deploy.export import deploy_config

    deploy_cfg, _, path = file.rpartition(':')
    path = Path(path)
    if deploy_cfg:
        deploy_cfg = Config.fromfile(deploy_cfg)
        precision = read_metadata(path).get('precision', 'fp32')
        precision = deploy_cfg.backend_config.get('precision', precision)
        return path, deploy_cfg, precision
    if path.suffix not in BACKENDS:
        stop(
            f'the kind of {path} is not known by its name; give it as '
            'DEPLOY_CONFIG:FILE'
        )
    exported = load(path)
    deploy_cfg = deploy_config(
        'pose' if exported.task == KEYPOINTS else exported.task,
        BACKENDS[path.suffix],
        input_size=exported.input_hw,
        layout=exported.facts.layout,
    )
    return path, deploy_cfg, exported.facts.precision


def check_size_of_file(cfg: Config, file: Path, deploy_cfg: Config) -> None:
    """Refuse a file that takes images of another size than are tested.

    Args:
        cfg: Config of the model.
        file: The exported model.
        deploy_cfg: How it is read.

    Raises:
        InputError: With both sizes and the way out.
    """
    from mmdeploy.utils import get_input_shape

    size_wh = get_input_shape(deploy_cfg)
    place = size_of_tests(cfg)
    # An exported file has one size, also of a model that keeps the ratio.
    if size_wh is None or place is None or place.keep_ratio:
        return
    height, width = size_wh[1], size_wh[0]
    if (height, width) != place.size_hw:
        raise InputError(
            f'{file} takes images of {height} x {width} (height x width in '
            f'px), but {place}, so it is not the model of this config: export '
            'it again, or check it at its own size by --cfg-options '
            f'resolution="({height},{width})"'
        )


@torch.no_grad()
def run(
    models: dict[str, nn.Module],
    precisions: dict[str, str],
    loader: Any,
    aps: dict[str, AveragePrecision],
) -> tuple[dict[str, Difference], dict[str, list[float]], list[int]]:
    """Run the models in turn on each image.

    Args:
        models: Models by name, PyTorch first.
        precisions: Precisions by name; images at which float32 cannot decide
            are left out of the differences of 'fp32'.
        loader: Images, one at a time.
        aps: AP of each model by name, to which the detections are added.

    Returns:
        Differences and seconds by name, and the ids of the images.
    """
    differences = {name: Difference() for name in models if name != PYTORCH}
    times: dict[str, list[float]] = {name: [] for name in models}
    img_ids = []
    close = {name: LIMITS[name] for name in ('box_px', 'score')}
    for batch in loader:
        reference = undecided = None
        for name, model in models.items():
            data = model.data_preprocessor(batch, False)
            samples = [sample.clone() for sample in data['data_samples']]
            if reference is None:
                of_pytorch = (model, data['inputs'], data['data_samples'])
            start = time.perf_counter()
            samples = model(data['inputs'], samples, mode='predict')
            times[name].append(time.perf_counter() - start)
            aps[name].add(batch, samples)
            instances = samples[0].pred_instances.cpu()
            if reference is None:
                reference = instances
                img_ids.append(samples[0].img_id)
                continue
            found = Difference()
            found.add(reference, instances)
            if precisions[name] == 'fp32' and not found.within(**close):
                if undecided is None:
                    undecided = is_undecided(*of_pytorch, reference, close)
                if undecided:
                    found = Difference(undecided=1)
            differences[name].merge(found)
        print(f'\r{len(img_ids)} of {len(loader)} images', end='', flush=True)
    print()
    return differences, times, img_ids


def table(rows: Sequence[Row]) -> str:
    """Lay the rows out as Markdown."""
    kinds = list(rows[0].ap)
    head = ['model', 'precision', *(f'AP {kind}' for kind in kinds)]
    head += ['box px', 'score', 'matched', 'undecided images', 'mask IoU']
    head += ['keypoint px']
    head += ['ms per image']
    lines = [head, ['---'] * len(head)]
    for row in rows:
        diff = row.difference
        cells = [Path(row.name).name, row.precision]
        for kind in kinds:
            change = row.ap[kind] - rows[0].ap[kind]
            cells.append(
                f'{row.ap[kind]:.2f}' + (f' ({change:+.2f})' if diff else '')
            )
        if diff is None:
            cells += ['', '', '', '', '', '']
        else:
            iou = '' if diff.mask_iou is None else f'{diff.mask_iou:.4f}'
            cells += [f'{diff.box_px:.2g}', f'{diff.score:.2g}']
            cells += [f'{diff.matched} of {diff.expected}']
            cells += [f'{diff.undecided} of {row.images}', iou]
            px = diff.keypoint_px
            cells.append('' if px is None else f'{px:.2g}')
        lines.append([*cells, f'{row.latency_ms:.1f}'])
    return ''.join(f'| {" | ".join(cells)} |\n' for cells in lines)


def to_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as JSON values."""
    values = []
    for row in rows:
        value = dict(
            name=row.name,
            precision=row.precision,
            latency_ms=row.latency_ms,
            ap=row.ap,
        )
        if row.difference is not None:
            diff = row.difference
            value.update(
                box_px=diff.box_px,
                score=diff.score,
                expected=diff.expected,
                matched=diff.matched,
                mask_iou=diff.mask_iou,
                keypoint_px=diff.keypoint_px,
                undecided=diff.undecided,
            )
        values.append(value)
    return values


if __name__ == '__main__':
    sys.exit(1 if main() else 0)
