"""Plot a training run: ``python tools/analysis_tools/plot_log.py WORK_DIR``.

Above the loss over the iterations, each recorded value and a running mean,
below the average precision over the epochs.
"""

import argparse
import json
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
}
Records = list[dict[str, Any]]


def read_records(work_dir: Path) -> tuple[Records, Records]:
    """Read what mmengine logged into a work dir, over all resumed parts.

    Each start of a run has its own ``scalars.json``. A part replaces what an
    earlier one recorded from the same iteration on: a resumed run continues
    the curve, and one that starts anew replaces it.

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
        records = [json.loads(line) for line in log.read_text().splitlines()]
        new_train = [record for record in records if 'loss' in record]
        new_val = [record for record in records if AP_KEYS.keys() & record]
        train = _continue(train, new_train)
        val = _continue(val, new_val) if new_train else val
    if not train:
        found = f'{len(logs)} logs without a loss' if logs else 'none'
        raise ValueError(
            'a training run logs into WORK_DIR/TIMESTAMP/vis_data/'
            f'scalars.json, but {work_dir} has {found}; name the folder that '
            'tools/train.py printed as its work dir'
        )
    return train, val


def _continue(old: Records, new: Records) -> Records:
    if not new:
        return old
    return [r for r in old if r['step'] < new[0]['step']] + new


def running_mean(values: Sequence[float], width: int) -> list[float]:
    """Average every value with those before it, at most ``width`` in all."""
    means = []
    for end in range(1, len(values) + 1):
        part = values[max(0, end - width) : end]
        means.append(sum(part) / len(part))
    return means


def plot(train: Records, val: Records, title: str) -> plt.Figure:
    """Draw the loss above and the average precision below.

    Args:
        train: Records with ``step`` in iterations and ``loss``.
        val: Records with ``step`` in epochs and metrics from 0 to 1.
        title: Heading of the figure.

    Returns:
        The figure; without validation records it has the loss only.
    """
    figure, axes = plt.subplots(
        2 if val else 1, figsize=(8, 7 if val else 4), squeeze=False
    )
    loss_axis = axes[0, 0]
    steps = [record['step'] for record in train]
    losses = [record['loss'] for record in train]
    width = max(2, len(losses) // 20)
    loss_axis.plot(steps, losses, alpha=0.35, label='as logged')
    loss_axis.plot(
        steps, running_mean(losses, width), label=f'mean of the last {width}'
    )
    loss_axis.set(xlabel='iteration', ylabel='training loss', title=title)
    loss_axis.legend()
    if val:
        ap_axis = axes[1, 0]
        for key, label in AP_KEYS.items():
            points = [(r['step'], 100 * r[key]) for r in val if key in r]
            if points:
                best = max(points, key=lambda point: point[1])
                ap_axis.plot(
                    *zip(*points),
                    marker='.',
                    label=f'{label}, best {best[1]:.1f} at epoch {best[0]}',
                )
        ap_axis.set(
            xlabel='epoch', ylabel='average precision in points (0 to 100)'
        )
        ap_axis.set_ylim(bottom=0)
        ap_axis.xaxis.get_major_locator().set_params(integer=True)
        ap_axis.legend()
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    figure.tight_layout()
    return figure


def main(argv: Sequence[str] | None = None) -> Path:
    """Plot the run in a work dir and return the path of the picture."""
    parser = argparse.ArgumentParser(description='Plot loss and AP of a run')
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
    print(f'Plotted {len(train)} loss and {len(val)} AP records into {out}')
    return out


if __name__ == '__main__':
    main()
