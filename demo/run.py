"""From nothing to a result: ``python demo/run.py``, or ``make demo``.

Draws the data set of ``tiny_shapes.py``, trains
``configs/rfdetr/rfdetr_tiny_shapes.py`` on it with ``tools/train.py``, tests
with ``tools/test.py`` and leaves pictures and a curve.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from contact_sheet import write_contact_sheet
from tiny_shapes import write_tiny_shapes

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs' / 'rfdetr' / 'rfdetr_tiny_shapes.py'


def run_tool(name: str, *arguments: str | Path) -> None:
    """Run a script of ``tools/`` as a user would, showing the command.

    Raises:
        SystemExit: If it fails; its own message stands above.
    """
    command = [f'tools/{name}', *map(str, arguments)]
    print('\n$ python', *command, flush=True)
    done = subprocess.run([sys.executable, *command], cwd=ROOT)
    if done.returncode:
        raise SystemExit(f'demo: tools/{name} failed, see above')


def shuffle_labels(folder: Path, seed: int = 0) -> str:
    """Give the boxes of the training split each other's classes.

    Args:
        folder: The data set's.
        seed: Of the shuffling.

    Returns:
        Name of the new annotation file in the folder.
    """
    content = json.loads((folder / 'train.json').read_text())
    labels = [ann['category_id'] for ann in content['annotations']]
    random.Random(seed).shuffle(labels)
    for ann, label in zip(content['annotations'], labels):
        ann['category_id'] = label
    name = 'train_shuffled.json'
    (folder / name).write_text(json.dumps(content))
    return name


def test_metrics(log_dir: Path) -> dict[str, float]:
    """What the latest run of ``tools/test.py`` in a folder measured."""
    path = max(log_dir.glob('*/[0-9]*.json'))
    return json.loads(path.read_text().splitlines()[-1])


def best_checkpoint(work_dir: Path) -> Path:
    """The checkpoint with the best validation AP of a finished training."""
    return max(
        work_dir.glob('best_coco_bbox_mAP_epoch_*.pth'),
        key=lambda path: path.stat().st_mtime,
    )


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument(
        '--data-dir',
        type=Path,
        default=ROOT / 'data' / 'tiny_shapes',
        help='where the data set is drawn (default: data/tiny_shapes)',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=ROOT / 'work_dirs' / 'demo',
        help='where results go (default: work_dirs/demo)',
    )
    parser.add_argument(
        '--shuffle-labels',
        action='store_true',
        help='train on shuffled classes: a model that still scores well '
        'would not have learned from them',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='handed to tools/train.py and tools/test.py',
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run the demo and return the metrics of the test split."""
    args = parse_args(argv)
    data_dir, work_dir = args.data_dir.resolve(), args.work_dir.resolve()
    write_tiny_shapes(data_dir)
    options = ['--cfg-options', f'data_root={data_dir}/']
    for split in ('train', 'val', 'test'):
        options.append(f'{split}_dataloader.dataset.data_root={data_dir}/')
    for split in ('val', 'test'):
        options.append(f'{split}_evaluator.ann_file={data_dir}/{split}.json')
    options += args.cfg_options
    train_options = [*options]
    if args.shuffle_labels:
        name = shuffle_labels(data_dir)
        train_options.append(f'train_dataloader.dataset.ann_file={name}')

    start = time.monotonic()
    run_tool('train.py', CONFIG, '--work-dir', work_dir, *train_options)
    minutes = (time.monotonic() - start) / 60
    predictions = work_dir / 'test_predictions.pkl'
    run_tool(
        *('test.py', CONFIG, best_checkpoint(work_dir)),
        *('--work-dir', work_dir / 'test', '--out', predictions),
        *options,
    )
    curve = work_dir / 'curve.png'
    run_tool('analysis_tools/plot_log.py', work_dir, '--out', curve)
    sheet = work_dir / 'predictions.png'
    write_contact_sheet(data_dir / 'test.json', predictions, sheet)

    metrics = test_metrics(work_dir / 'test')
    print(
        f'\nTrained and validated in {minutes:.1f} minutes. Test split: '
        f'AP {100 * metrics["coco/bbox_mAP"]:.1f}, '
        f'AP50 {100 * metrics["coco/bbox_mAP_50"]:.1f}.\n'
        f'Truth beside predictions: {sheet}\n'
        f'Loss and AP:              {curve}\n'
        f'Checkpoint:               {best_checkpoint(work_dir)}'
    )
    return metrics


if __name__ == '__main__':
    main()
