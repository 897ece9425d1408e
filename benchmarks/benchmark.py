"""Compare detectors: ``benchmark.py CONFIG [CONFIG ...]``.

Parameters, arithmetic, latency, throughput, memory and, with weights and
data, AP, of any models that mmdet can build: config files, and mmdet's
installed ones as ``mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py``. All models
run turn by turn in every round. Writes benchmark.json, benchmark.md and
benchmark.png.
"""

import argparse
import copy
import sys
import tempfile
import uuid
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import clone  # noqa: F401  first: this clone's package and tools
from run_config import (  # noqa: E402  (puts this clone in front)
    OptionAction,
    check_checkpoint,
    input_errors_in_one_line,
    merge_options,
    stop,
)

# isort: split
import torch  # noqa: E402
from attention_products import attention_products  # noqa: E402
from benchmark_report import write_report  # noqa: E402
from mmdet.registry import MODELS  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402
from mmengine.analysis import FlopAnalyzer  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.hub import get_config  # noqa: E402
from mmengine.runner import load_checkpoint  # noqa: E402
from onnx_files import export_ours, onnx_session  # noqa: E402
from options import parser, positive  # noqa: E402
from paired_rounds import (  # noqa: E402
    call_alone,
    machine,
    matmul_peak,
    paired_rounds,
    peak_mib,
    say,
    spread,
)
from torch import Tensor, nn  # noqa: E402

from rfdetr_mm.datasets import resolve_own_data  # noqa: E402
from rfdetr_mm.engine.running import build_runner  # noqa: E402

BACKENDS = ('eager', 'compiled', 'onnxruntime')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    given = parser('Compare detectors')
    add = given.add_argument
    add('configs', nargs='+', help='config files, or PACKAGE::CONFIG')
    add(
        '--checkpoints',
        nargs='+',
        default=[],
        help="weights, one for each config, 'none' for random ones",
    )
    add(
        '--shape',
        type=positive,
        nargs=2,
        metavar=('H', 'W'),
        help="input of all models in pixels; each config's own without it",
    )
    add('--batch-sizes', type=positive, nargs='+', default=[1], help='images')
    add(
        '--backends',
        nargs='+',
        choices=BACKENDS,
        default=['eager'],
        help='what runs the models',
    )
    add('--rounds', type=positive, default=5, help='timed, one before')
    add(
        '--no-memory',
        action='store_true',
        help='leave out the peak memory, which takes a process per model',
    )
    add(
        '--evaluate',
        action='store_true',
        help='AP on the test set of every config that has weights',
    )
    add('--out', type=Path, default=Path('work_dirs/benchmark'))
    add(
        '--cfg-options',
        nargs='+',
        action=OptionAction,
        metavar='KEY=VALUE',
        help='changed in every config',
    )
    args = given.parse_args(argv)
    args.checkpoints = [
        None if name.lower() == 'none' else name for name in args.checkpoints
    ] or [None] * len(args.configs)
    if len(args.checkpoints) != len(args.configs):
        stop(
            f'--checkpoints has {len(args.checkpoints)} names for '
            f"{len(args.configs)} configs; give 'none' for random weights"
        )
    for name in args.checkpoints:
        check_checkpoint(name, '--checkpoints')
    return args


def read(name: str, options: dict | None, has_data: bool = False) -> Config:
    """Read a config file or an installed package's config.

    Args:
        name: The config.
        options: Its changes.
        has_data: Whether its data set is there, by which a config that
            leaves its classes open is filled in.

    Raises:
        SystemExit: If there is none of that name.
        InputError: If the data set cannot be used.
    """
    if '::' in name:
        try:
            cfg = get_config(name)
        except (FileNotFoundError, ValueError) as error:
            stop(f'there is no config {name}: {error}')
    elif Path(name).is_file():
        cfg = Config.fromfile(name)
    else:
        stop(f'there is no config file {name} (seen from {Path.cwd()})')
    merge_options(cfg, options or {})
    if has_data:
        resolve_own_data(cfg)
    return cfg


def input_hw(cfg: Config, shape: Sequence[int] | None = None) -> tuple:
    """(H, W) in pixels of the network's input.

    Args:
        cfg: The config.
        shape: Wanted instead of that of the test pipeline; both are rounded
            up to ``pad_size_divisor``.

    Raises:
        SystemExit: If the test pipeline does not resize.
    """
    if shape is None:
        dataset = cfg.test_dataloader.dataset
        resizes = [s for s in dataset.pipeline if 'Resize' in str(s.type)]
        if not resizes:
            stop(f'the test pipeline of {cfg.filename} does not resize')
        scale = resizes[-1].scale
        shape = [scale, scale] if isinstance(scale, int) else scale[::-1]
    preprocessor = cfg.model.get('data_preprocessor') or {}
    divisor = preprocessor.get('pad_size_divisor', 1)
    return tuple(-(-side // divisor) * divisor for side in shape)


class Subject:
    """A model under test and its input.

    Args:
        cfg: Its config.
        checkpoint: Its weights; None for random ones.
        hw: Height and width of the input in pixels.
    """

    def __init__(self, cfg: Config, checkpoint: str | None, hw: tuple) -> None:
        self.cfg, self.checkpoint, self.hw = cfg, checkpoint, hw
        torch.manual_seed(0)
        self.model = MODELS.build(cfg.model).eval()
        if checkpoint is not None:
            load_checkpoint(self.model, checkpoint, map_location='cpu')

    def inputs(self, batch_size: int) -> tuple[Tensor, list[DetDataSample]]:
        """Normalised random images, without padding, and their samples."""
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(batch_size, 3, *self.hw, generator=generator)
        meta = dict(
            img_shape=self.hw,
            ori_shape=self.hw,
            pad_shape=self.hw,
            batch_input_shape=self.hw,
            scale_factor=(1.0, 1.0),
        )
        samples = [DetDataSample(metainfo=meta) for _ in range(batch_size)]
        return images, samples

    def num_params(self) -> int:
        """All parameters, frozen ones included."""
        return sum(p.numel() for p in self.model.parameters())

    @torch.no_grad()
    def flops(self) -> int:
        """Of one image through the network without post-processing.

        mmengine's count of multiply-adds, times two. It does not know fused
        attention, which is added here.
        """
        images, samples = self.inputs(1)
        forward = self.model.forward
        self.model.forward = partial(forward, data_samples=samples)
        analyzer = FlopAnalyzer(self.model, images)
        analyzer.unsupported_ops_warnings(False)
        analyzer.uncalled_modules_warnings(False)
        analyzer.set_op_handle(
            'aten::scaled_dot_product_attention', attention_products
        )
        try:
            return 2 * int(analyzer.total())
        finally:
            self.model.forward = forward

    def eager(
        self, batch_size: int, model: nn.Module | None = None
    ) -> Callable[[], Any]:
        """From normalised images to detections.

        Args:
            batch_size: How many images.
            model: Another one than the subject's own.
        """
        images, samples = self.inputs(batch_size)
        chosen = self.model if model is None else model

        @torch.no_grad()
        def work() -> Any:
            return chosen(images, samples, mode='predict')

        return work

    @cached_property
    def _compiled_model(self) -> nn.Module:
        """A copy whose backbone and neck go through torch.compile."""
        model = copy.deepcopy(self.model)
        for name in ('backbone', 'neck'):
            module = getattr(model, name, None)
            if isinstance(module, nn.Module):
                module.compile()
        return model

    def compiled(self, batch_size: int) -> Callable[[], Any]:
        """The same with backbone and neck through torch.compile."""
        return self.eager(batch_size, self._compiled_model)

    def onnxruntime(self, batch_size: int) -> Callable[[], Any]:
        """The exported graph, detections included.

        Raises:
            NotImplementedError: With the reason, where there is no export.
        """
        if self.cfg.model.type != 'RFDETR':
            raise NotImplementedError('only RFDETR is exported by this tool')
        with tempfile.TemporaryDirectory() as folder:
            file = export_ours(
                self.cfg,
                self.checkpoint,
                folder,
                say,
                input_size=self.hw,
                batch_size=batch_size,
                dynamic_batch=batch_size > 1,
            )
            session = onnx_session(file)
        images = self.inputs(batch_size)[0].numpy()
        name = session.get_inputs()[0].name
        return lambda: session.run(None, {name: images})

    def average_precision(self) -> float:
        """AP of boxes on the config's test set, in points."""
        cfg = Config(self.cfg.to_dict())
        cfg.load_from = self.checkpoint
        cfg.launcher = 'none'
        cfg.experiment_name = f'benchmark_{uuid.uuid4().hex}'
        with tempfile.TemporaryDirectory() as folder:
            cfg.work_dir = folder
            metrics = build_runner(cfg).test()
        return 100 * metrics['coco/bbox_mAP']


def collect(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Build all models and measure them.

    Args:
        args: The command line.

    Returns:
        A row for each config.
    """
    rows, subjects, works = [], [], {}
    for name, checkpoint in zip(args.configs, args.checkpoints):
        cfg = read(name, args.cfg_options, args.evaluate)
        subject = Subject(cfg, checkpoint, input_hw(cfg, args.shape))
        say(f'{name}: built, counting')
        row = dict(
            config=name,
            checkpoint=checkpoint,
            input_hw=list(subject.hw),
            params=subject.num_params(),
            flops=first_forward(subject, name),
            latency=[],
            skipped={},
            peak_mib=None,
            ap=None,
        )
        rows.append(row)
        subjects.append(subject)
        for backend, size in product(args.backends, args.batch_sizes):
            try:
                work = getattr(subject, backend)(size)
            except NotImplementedError as error:
                row['skipped'][backend] = str(error)
                continue
            works[len(rows) - 1, backend, size] = work
    say(f'{len(works)} works, {args.rounds} rounds')
    timed = paired_rounds(works, args.rounds, say)
    for (number, backend, size), seconds in timed.items():
        found = dict(backend=backend, batch_size=size)
        found.update(seconds=spread(seconds), rounds=seconds)
        rows[number]['latency'].append(found)
    for row, subject in zip(rows, subjects):
        if args.evaluate and subject.checkpoint is None:
            row['skipped']['AP'] = 'no weights were given'
        elif args.evaluate:
            say(f'{row["config"]}: evaluating')
            row['ap'] = subject.average_precision()
        if not args.no_memory:
            say(f'{row["config"]}: memory, in a process of its own')
            row['peak_mib'] = call_alone(
                *(peak_of, row['config'], args.cfg_options, args.shape),
                args.evaluate,
            )
    return rows


def first_forward(subject: Subject, name: str) -> int:
    """Arithmetic of one image through the model.

    Args:
        subject: The model.
        name: Its config.

    Raises:
        SystemExit: If the model cannot compute with that input.
    """
    try:
        return subject.flops()
    except RuntimeError as error:
        height, width = subject.hw
        reason = str(error).splitlines()[0]
        stop(
            f'{name} cannot compute with {height} x {width} px: {reason} '
            'Give a --shape of which both sides are multiples of 32, or none'
        )


def peak_of(
    name: str,
    options: dict | None,
    shape: Sequence[int] | None,
    has_data: bool = False,
) -> float:
    """Peak memory of this process with one image through a model, in MiB.

    Args:
        name: The config.
        options: Its changes.
        shape: See :func:`input_hw`.
        has_data: See :func:`read`.
    """
    register_all_modules(init_default_scope=True)
    cfg = read(name, options, has_data)
    Subject(cfg, None, input_hw(cfg, shape)).eager(1)()
    return peak_mib()


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, write the report and return its content."""
    args = parse_args(argv)
    register_all_modules(init_default_scope=True)
    with input_errors_in_one_line():
        content = dict(
            command=' '.join(sys.argv),
            machine=machine(),
            matmul_peak=matmul_peak(),
            rounds=args.rounds,
            rows=collect(args),
        )
    write_report(content, args.out)
    return content


if __name__ == '__main__':
    main()
