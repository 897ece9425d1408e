"""Plot a training run: ``python tools/analysis_tools/plot_log.py WORK_DIR``.

From top to bottom: the loss over the iterations, each recorded value and a
running mean; every single loss, on a logarithmic scale; the learning rates;
the memory of the GPU; the losses of validation, where LossValLoop computes
them, and the average precision over the epochs, of averaged and of plain
weights. A run that was stopped and resumed is one curve.
"""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402

AP_KEYS = {
    'coco/bbox_mAP': 'AP',
    'coco/bbox_mAP_50': 'AP50',
    'coco/segm_mAP': 'mask AP',
    'coco/segm_mAP_50': 'mask AP50',
    'coco/keypoint_mAP': 'keypoint AP',
    'coco/keypoint_mAP_50': 'keypoint AP50',
}
# What TwoWeightsValLoop puts before the metrics of plain weights.
PLAIN = 'plain/'
# A loss of a layer before the last, such as d0.loss_cls or enc_loss_bbox
LAYER = re.compile(r'^(?:(?P<layer>[a-z]+\d*)[._])?(?P<name>loss_\w+)$')
VAL_LOSS = 'val/loss'
MANY = 30  # points of a curve that is drawn without marks
# What mmengine logs if there are several parameter groups.
RATE_LABELS = {
    'base_lr': 'base_lr: neck and head',
    'lr': 'lr: first group, with layer decay the lowest of the backbone',
}
Records = list[dict[str, Any]]


def read_records(work_dir: Path) -> tuple[Records, Records]:
    """Read what mmengine logged into a work dir, over all resumed parts.

    Each start of a run has its own ``scalars.json``. A part replaces what an
    earlier one recorded from the same point on: a resumed run continues the
    curve, and one that starts anew replaces it. Evaluations outside of a
    training are left out.

    Args:
        work_dir: Folder of the run, with ``TIMESTAMP/vis_data/scalars.json``.

    Returns:
        Training records, with ``step`` in iterations, and validation records,
        with ``step`` in epochs.

    Raises:
        ValueError: If there is no log or no training record in it.
    """
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))
    train: Records = []
    val: Records = []
    for log in logs:
        records = _read_lines(log)
        new_train = [record for record in records if 'loss' in record]
        new_val = [
            record
            for record in records
            if any(_is_of_validation(name) for name in record)
            and record['step'] > 0
        ]
        if new_train:
            # In its first epoch e, a run has e - 1 epochs behind it.
            first_epoch = new_train[0].get('epoch', new_train[0]['step'])
            train = _continue(train, new_train, new_train[0]['step'])
            val = _continue(val, [], first_epoch)
        if new_val:
            val = _continue(val, new_val, new_val[0]['step'])
    if not train:
        found = f'{len(logs)} logs without a loss' if logs else 'none'
        raise ValueError(
            'a training run logs into WORK_DIR/TIMESTAMP/vis_data/'
            f'scalars.json, but {work_dir} has {found}; name the folder that '
            'tools/train.py printed as its work dir'
        )
    return train, val


def _read_lines(log: Path) -> Records:
    """Records of a file whose last line a killed run may have cut."""
    lines = log.read_text().splitlines()
    records = [json.loads(line) for line in lines[:-1]]
    for last in lines[-1:]:
        try:
            records.append(json.loads(last))
        except json.JSONDecodeError:
            pass
    return records


def _is_of_validation(name: str) -> bool:
    name = _without_plain(name)
    return name in AP_KEYS or name == VAL_LOSS


def _continue(old: Records, new: Records, start: int) -> Records:
    return [record for record in old if record['step'] < start] + new


def running_mean(values: Sequence[float], width: int) -> list[float]:
    """Average every value with those before it, at most ``width`` in all."""
    means = []
    for end in range(1, len(values) + 1):
        part = values[max(0, end - width) : end]
        means.append(sum(part) / len(part))
    return means


def plot(train: Records, val: Records, title: str) -> plt.Figure:
    """Draw losses, rates, memory and average precision below each other.

    Args:
        train: Records with ``step`` in iterations, ``loss`` and, where they
            were logged, single losses (``loss_cls``, ``d0.loss_cls``, ...),
            learning rates, whose names end with ``lr``, and ``memory`` in MB.
        val: Records with ``step`` in epochs and metrics from 0 to 1.
        title: Heading of the figure.

    Returns:
        The figure; a part without records is left out.
    """
    draws = [_plot_loss]
    if any(_single_losses(record) for record in train):
        draws.append(_plot_single_losses)
    if any(_rate_names(record) for record in train):
        draws.append(_plot_rates)
    if any(record.get('memory') for record in train):
        draws.append(_plot_memory)
    if any(VAL_LOSS in record for record in val):
        draws.append(_plot_val_losses)
    if any({*AP_KEYS} & {*map(_without_plain, record)} for record in val):
        draws.append(_plot_ap)
    figure, axes = plt.subplots(
        len(draws),
        figsize=(8, 1 + 3 * len(draws)),
        squeeze=False,
        layout='constrained',
    )
    for draw, axis in zip(draws, axes.flat):
        draw(axis, val if draw in (_plot_ap, _plot_val_losses) else train)
        if len({record['step'] for record in train}) == 1:
            _show_steps(axis, train if axis.get_xlabel() != 'epoch' else val)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize='small')
        axis.grid(alpha=0.3)
    figure.suptitle(title)
    return figure


def _marks(points: Sequence[Any], is_plain: bool = False) -> dict[str, Any]:
    """A curve of few points shows them; one of a single point is one."""
    if len(points) == 1:
        return dict(marker='x' if is_plain else 'o', markersize=7)
    return dict(marker='.') if len(points) <= MANY else {}


def _plot_loss(axis: plt.Axes, train: Records) -> None:
    steps = [record['step'] for record in train]
    losses = [record['loss'] for record in train]
    width = max(2, len(losses) // 20)
    axis.plot(steps, losses, alpha=0.35, label='as logged', **_marks(steps))
    if len(losses) > 1:
        axis.plot(
            steps,
            running_mean(losses, width),
            label=f'mean of the last {width}',
        )
    axis.set(xlabel='iteration', ylabel='training loss')


def _single_losses(record: dict[str, Any]) -> list[str]:
    return [name for name in record if LAYER.match(name)]


def _plot_single_losses(axis: plt.Axes, train: Records) -> None:
    """One colour for each loss; those of earlier layers are thin."""
    names = sorted({name for one in train for name in _single_losses(one)})
    kinds = sorted({LAYER.match(name)['name'] for name in names})
    for name in names:
        found = LAYER.match(name)
        points = [(r['step'], r[name]) for r in train if name in r]
        values = running_mean([y for _, y in points], max(2, len(train) // 20))
        is_last = found['layer'] is None
        axis.plot(
            [x for x, _ in points],
            values,
            color=f'C{kinds.index(found["name"]) % 10}',
            linewidth=1.6 if is_last else 0.6,
            alpha=1 if is_last else 0.6,
            label=name if is_last else None,
            **(_marks(points) if is_last else {}),
        )
    axis.set(xlabel='iteration', ylabel='single losses\n(thin: other layers)')
    axis.set_yscale('log', nonpositive='mask')


def _plot_val_losses(axis: plt.Axes, val: Records) -> None:
    """The total, dashed of plain weights, and thin what it consists of."""
    names = sorted({name for record in val for name in record})
    kinds = [
        name.removeprefix('val/')
        for name in names
        if name.startswith('val/loss_')
    ]
    for name in names:
        short = _without_plain(name).removeprefix('val/')
        is_total = short == 'loss' and _without_plain(name) == VAL_LOSS
        if not is_total and not name.startswith('val/loss_'):
            continue
        points = [(r['step'], r[name]) for r in val if name in r]
        axis.plot(
            *zip(*points),
            color='black' if is_total else f'C{kinds.index(short) % 10}',
            linestyle='--' if name.startswith(PLAIN) else '-',
            linewidth=1.8 if is_total else 0.9,
            label=f'{short} without averaging'
            if name.startswith(PLAIN)
            else short,
            **_marks(points, name.startswith(PLAIN)),
        )
    axis.set(xlabel='epoch', ylabel='losses of validation')
    axis.set_yscale('log', nonpositive='mask')
    _show_steps(axis, val)


def _without_plain(name: str) -> str:
    return name.removeprefix(PLAIN)


def _from_zero(axis: plt.Axes, values: Sequence[float]) -> None:
    """From 0 to a little above the largest value."""
    axis.set_ylim(0, 1.1 * max(values, default=0) or 1)


def _show_steps(axis: plt.Axes, records: Records) -> None:
    """Whole numbers below, and room beside a single one."""
    steps = [record['step'] for record in records]
    axis.set_xlim(min(steps) - 0.5, max(steps) + 0.5)
    axis.xaxis.get_major_locator().set_params(integer=True)


def _plot_memory(axis: plt.Axes, train: Records) -> None:
    points = [(r['step'], r['memory']) for r in train if 'memory' in r]
    axis.plot(*zip(*points), **_marks(points))
    axis.set(xlabel='iteration', ylabel='peak GPU memory in MB')
    _from_zero(axis, [memory for _, memory in points])


def _plot_rates(axis: plt.Axes, train: Records) -> None:
    curves: dict[str, list[tuple[int, float]]] = {}
    for record in train:
        for name in _rate_names(record):
            curves.setdefault(name, []).append((record['step'], record[name]))
    labels = RATE_LABELS if 'base_lr' in curves else {}
    for name, points in curves.items():
        label = labels.get(name, name)
        axis.plot(*zip(*points), label=label, **_marks(points))
    axis.set(xlabel='iteration', ylabel='learning rate')
    axis.set_yscale('log', nonpositive='mask')


def _rate_names(record: dict[str, Any]) -> list[str]:
    return [name for name in record if name.endswith('lr')]


def _plot_ap(axis: plt.Axes, val: Records) -> None:
    values = []
    for number, (key, name) in enumerate(AP_KEYS.items()):
        for is_plain in (False, True):
            full = PLAIN + key if is_plain else key
            points = [(r['step'], 100 * r[full]) for r in val if full in r]
            if not points:
                continue
            values += [y for _, y in points]
            best = max(points, key=lambda point: point[1])
            label = f'{name} without averaging' if is_plain else name
            axis.plot(
                *zip(*points),
                color=f'C{number}',
                linestyle='--' if is_plain else '-',
                label=f'{label}, best {best[1]:.1f} at epoch {best[0]}',
                **_marks(points, is_plain),
            )
    axis.set(xlabel='epoch', ylabel='average precision\nin points (0 to 100)')
    _from_zero(axis, values)
    _show_steps(axis, val)


def main(argv: Sequence[str] | None = None) -> Path:
    """Plot the run in a work dir and return the path of the picture."""
    parser = argparse.ArgumentParser(
        description='Plot losses, learning rates, memory and AP of a run'
    )
    parser.add_argument('work_dir', type=Path, help='folder of the run')
    parser.add_argument(
        '--out', type=Path, help='picture file (default: WORK_DIR/log.png)'
    )
    args = parser.parse_args(argv)
    try:
        train, val = read_records(args.work_dir)
    except ValueError as error:
        raise SystemExit(f'plot_log.py: error: {error}') from None
    out = args.out or args.work_dir / 'log.png'
    out.parent.mkdir(parents=True, exist_ok=True)
    title = f'{args.work_dir.resolve().name}: {len(train)} records'
    plot(train, val, title).savefig(out, dpi=120)
    counts = f'{len(train)} training and {len(val)} AP records'
    print(f'Plotted {counts} into {out}')
    return out


if __name__ == '__main__':
    main()
