"""Compare mmcv's compiled operators with what stands in for them.

Both run in one process with one torch, in turns, and a table in Markdown
says how far their results differ and how long they take:

    python benchmarks/compare_operators.py [EXTENSION] \
        [--rounds 15] [--threads 2] [--cpu-time] [--only roi_align]

EXTENSION is the compiled ``mmcv/_ext.*.so``; by default that of the installed
mmcv. Without one its rows are left out. Where mmcv has no CPU implementation
the stand-in is compared with the formula in plain torch, in which mmdet's
models compute on a CPU instead.
"""

import argparse
import importlib.machinery
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import clone  # noqa: F401  first: this clone's package and tools

# Before mmcv's operators, which mmcv may lack.
from rfdetr_mm.operators import extension

# isort: split
import torch
import torch.nn.functional as F
from mmcv import ops
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)
from options import parser, positive
from paired_rounds import machine, paired_rounds, ratio, say, spread
from report import machine_line, span, table
from run_config import stop
from torch import Tensor

Work = Callable[[], list[Tensor]]
CLASSES = 80


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    given = parser(__doc__.splitlines()[0])
    add = given.add_argument
    add('extension', nargs='?', help='mmcv/_ext.*.so')
    add('--rounds', type=positive, default=15, help='timed, one before')
    add('--threads', type=positive, default=2, help='of torch')
    add(
        '--cpu-time',
        action='store_true',
        help='count the processor time, where other programs run beside it',
    )
    add('--only', default='', help='part of the names')
    args = given.parse_args(argv)
    torch.set_num_threads(args.threads)
    compiled = load_compiled(args.extension)
    about = machine_line(machine())
    rows = [
        row(name, on(compiled, work), on(extension, work), args)
        for name, work in (compared() if compiled else ())
        if args.only in name
    ]
    head = ['operator', 'compiled', 'stand-in', 'ratio', 'largest difference']
    if rows:
        print(table(head, rows), '\n')
    rows = [
        row(name, formula, on(extension, work), args)
        for name, formula, work in by_formula()
        if args.only in name
    ]
    head[1] = 'plain torch'
    if rows:
        print(table(head, rows), '\n')
    kind = 'processor time' if args.cpu_time else 'time'
    rounds = f'{args.rounds} round{"" if args.rounds == 1 else "s"}'
    print(f'Median {kind} of {rounds}. {about}')


def load_compiled(path: str | None) -> ModuleType | None:
    """Load an extension from a file, beside what mmcv found itself.

    Args:
        path: The file; that of the installed mmcv if None.

    Returns:
        The extension, or None where the installed mmcv has none.

    Raises:
        SystemExit: The file that was named is not a compiled extension.
    """
    named = path
    if named is None:
        spec = importlib.util.find_spec('mmcv._ext')
        path = str(spec.origin) if spec else ''
    if not path.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES)):
        if named is not None:
            stop(f'{named} must be a compiled extension, mmcv/_ext.*.so')
        say(
            'mmcv has no compiled operators here: the rows beside them are '
            'left out. Name the file mmcv/_ext.*.so of another mmcv, built '
            'for this torch, to have them'
        )
        return None
    if not Path(path).is_file():
        stop(f'there is no file {path} (seen from {Path.cwd()})')
    spec = importlib.util.spec_from_file_location('compiled._ext', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def on(chosen: ModuleType, work: Work) -> Work:
    """The work with that extension in all of mmcv's modules."""
    users = [
        module
        for name, module in sys.modules.items()
        if name.startswith('mmcv.ops.') and hasattr(module, 'ext_module')
    ]

    def run() -> list[Tensor]:
        for module in users:
            module.ext_module = chosen
        return work()

    return run


def row(
    name: str, other: Work, ours: Work, args: argparse.Namespace
) -> list[str]:
    """A line of the table."""
    print(name, file=sys.stderr)
    difference = '; '.join(
        differences(a, b) for a, b in zip(other(), ours(), strict=True)
    )
    seconds = paired_rounds(
        dict(other=other, ours=ours),
        args.rounds,
        lambda line: None,
        time.process_time if args.cpu_time else time.perf_counter,
    )
    times = [spread(found)['median'] for found in seconds.values()]
    found = ratio(seconds['ours'], seconds['other'])
    return [
        name,
        *(f'{time * 1000:.2f} ms' for time in times),
        span(found, '.2f'),
        difference,
    ]


def differences(other: Tensor, ours: Tensor) -> str:
    """How far two results are from each other."""
    if other.shape != ours.shape:
        return f'{len(ours)} beside {len(other)}'
    if torch.equal(other, ours):
        return '0'
    if not other.is_floating_point():
        return f'{int((other != ours).sum())} of {other.numel()} others'
    largest = (other - ours).abs().max().item()
    return f'{largest:.0e} of {other.abs().max().item():.2g}'


def gradients(function: Callable[..., Tensor], *leaves: Tensor) -> Work:
    """The function's result and its gradients."""

    def run() -> list[Tensor]:
        given = [leaf.detach().clone().requires_grad_() for leaf in leaves]
        result = function(*given)
        generator = torch.Generator().manual_seed(1)
        upstream = torch.randn(result.shape, generator=generator)
        return [
            result.detach(),
            *torch.autograd.grad(result, given, upstream),
        ]

    return run


def boxes(count: int, size: float, side: float) -> Tensor:
    """(count, 4) xyxy in pixels."""
    centre = torch.rand(count, 2) * size
    half = torch.rand(count, 2) * side / 2 + 0.5
    return torch.cat([centre - half, centre + half], 1)


def compared() -> Iterator[tuple[str, Work]]:
    """What compiled mmcv has on a CPU."""
    torch.manual_seed(0)
    yield from of_boxes()
    features = torch.randn(2, 64, 100, 120)
    images = torch.randint(0, 2, (256, 1)).float()
    rois = torch.cat([images, boxes(256, 400, 300)], 1)
    for mode in ('avg', 'max'):
        options = (7, 0.25, 0, mode, True)
        yield (
            f'roi_align {mode}',
            lambda o=options: [ops.roi_align(features, rois, *o)],
        )
        yield (
            f'roi_align {mode}, gradients',
            gradients(
                lambda x, o=options: ops.roi_align(x, rois, *o), features
            ),
        )
    for groups, deform_groups in ((1, 1), (1, 4), (4, 1)):
        yield from of_convolutions(groups, deform_groups)


def of_boxes() -> Iterator[tuple[str, Work]]:
    """Suppression and overlap."""
    for count in (100, 1000, 5000):
        given, scores = boxes(count, 300, 80), torch.rand(count)
        tied = (scores * 10).round() / 10
        yield (
            f'nms {count:4d}',
            lambda b=given, s=scores: list(ops.nms(b, s, 0.5)),
        )
        yield (
            f'nms {count:4d}, equal scores',
            lambda b=given, s=tied: list(ops.nms(b, s, 0.5)),
        )
    given, scores = boxes(1000, 200, 80), torch.rand(1000)
    for method in ('linear', 'gaussian'):
        yield (
            f'soft_nms {method} 1000',
            lambda m=method: list(
                ops.soft_nms(given, scores, 0.3, min_score=0.05, method=m)
            ),
        )
    dets = torch.cat([given, scores[:, None]], 1)
    yield 'nms_match 1000', lambda: [torch.cat(ops.nms_match(dets, 0.5))]
    yield (
        'bbox_overlaps 1000 x 1000',
        lambda: [ops.bbox_overlaps(given, given.flip(0))],
    )


def of_convolutions(
    groups: int, deform_groups: int
) -> Iterator[tuple[str, Work]]:
    """Deformable convolutions of one kind of groups."""
    options = (1, 1, 1, groups, deform_groups)
    kind = f'groups {groups}, {deform_groups}'
    features = torch.randn(2, 64, 50, 50)
    weight = torch.randn(64, 64 // groups, 3, 3) * 0.05
    offset = torch.randn(2, deform_groups * 18, 50, 50) * 2
    mask, bias = torch.rand(2, deform_groups * 9, 50, 50), torch.randn(64)
    plain = (features, offset, weight)
    modulated = (features, offset, mask, weight, bias)
    for name, function, inputs in (
        ('deform_conv', ops.deform_conv2d, plain),
        ('modulated_deform_conv', ops.modulated_deform_conv2d, modulated),
    ):
        yield (
            f'{name} {kind}',
            lambda f=function, x=inputs: [f(*x, *options)],
        )
        yield (
            f'{name} {kind}, gradients',
            gradients(lambda *x, f=function: f(*x, *options), *inputs),
        )


def by_formula() -> Iterator[tuple[str, Work, Work]]:
    """What compiled mmcv has on a GPU only: name, formula, operator."""
    torch.manual_seed(0)
    logits = torch.randn(20000, CLASSES)
    targets = torch.randint(0, CLASSES + 1, (20000,))
    yield (
        'sigmoid_focal_loss, gradients',
        gradients(lambda x: sigmoid_focal(x, targets), logits),
        gradients(
            lambda x: ops.sigmoid_focal_loss(
                x, targets, 2.0, 0.25, None, 'none'
            ),
            logits,
        ),
    )
    classes = targets.clamp(max=CLASSES - 1)
    yield (
        'softmax_focal_loss, gradients',
        gradients(lambda x: softmax_focal(x, classes), logits),
        gradients(
            lambda x: ops.softmax_focal_loss(
                x, classes, 2.0, 0.25, None, 'sum'
            ),
            logits,
        ),
    )
    shapes = torch.tensor([[40, 40], [20, 20], [10, 10], [5, 5]])
    starts = torch.tensor([0, 1600, 2000, 2100])
    inputs = (
        torch.randn(2, 2125, 8, 32),
        torch.rand(2, 300, 8, 4, 4, 2),
        torch.rand(2, 300, 8, 4, 4),
    )
    yield (
        'ms_deform_attn, gradients',
        gradients(
            lambda v, x, w: multi_scale_deformable_attn_pytorch(
                v, shapes.tolist(), x, w
            ),
            *inputs,
        ),
        gradients(
            lambda v, x, w: MultiScaleDeformableAttnFunction.apply(
                v, shapes, starts, x, w, 64
            ),
            *inputs,
        ),
    )
    features, kernels = torch.randn(1, 64, 25, 25), torch.rand(1, 25, 50, 50)
    yield (
        'carafe, gradients',
        gradients(carafe, features, kernels),
        gradients(lambda x, m: ops.carafe(x, m, 5, 1, 2), features, kernels),
    )
    mask = (torch.rand(1, 100, 120) > 0.7).float()
    image, weight = torch.randn(1, 64, 100, 120), torch.randn(64, 64, 3, 3)
    bias = torch.randn(64)
    yield (
        'masked_conv2d',
        lambda: [F.conv2d(image, weight, bias, padding=1) * mask],
        lambda: [ops.masked_conv2d(image, mask, weight, bias, 1)],
    )


def sigmoid_focal(logits: Tensor, targets: Tensor) -> Tensor:
    """As mmdet computes it on a CPU, gamma 2 and alpha 0.25."""
    hot = F.one_hot(targets, CLASSES + 1)[:, :CLASSES].to(logits)
    p = logits.sigmoid()
    wrong = (1 - p) * hot + p * (1 - hot)
    factor = (0.25 * hot + 0.75 * (1 - hot)) * wrong.square()
    return factor * F.binary_cross_entropy_with_logits(
        logits, hot, reduction='none'
    )


def softmax_focal(logits: Tensor, targets: Tensor) -> Tensor:
    """The sum, gamma 2 and alpha 0.25."""
    log_p = logits.log_softmax(1).gather(1, targets[:, None])[:, 0]
    return -(0.25 * (1 - log_p.exp()).square() * log_p).sum()


def carafe(features: Tensor, kernels: Tensor) -> Tensor:
    """Kernels of 5 x 5, twice the size, one group."""
    channels, height, width = features.shape[1:]
    patches = F.unfold(features, 5, padding=2).view(1, -1, height, width)
    patches = F.interpolate(patches, scale_factor=2, mode='nearest')
    patches = patches.view(1, channels, 25, 2 * height, 2 * width)
    return (patches * kernels[:, None]).sum(2)


if __name__ == '__main__':
    main()
