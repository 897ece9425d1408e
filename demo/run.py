"""From nothing to a result: ``python demo/run.py``, or ``make demo``.

Draws the data set of ``tiny_shapes.py``, fine-tunes on it the weights that
come with this package with ``tools/train.py`` and
``configs/rfdetr/rfdetr_tiny_shapes.py``, tests with ``tools/test.py`` and
leaves pictures and a curve. ``--masks``, or ``make demo-masks``, does the same
with ``tiny_masks.py`` and ``configs/rfdetr_seg/rfdetr-seg_tiny_masks.py``,
from random weights, and ``--figures``, or ``make demo-figures``, with the
keypoints of ``tiny_figures.py`` and
``configs/rfdetr_pose/rfdetr-pose_tiny_figures.py``.

``--from-scratch`` starts from random weights, ``--probe`` trains new class
rows and nothing else: what the weights are worth lies between the two.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if (ROOT / 'rfdetr_mm' / '__init__.py').is_file():
    sys.path.insert(0, str(ROOT))  # the package of this clone

from contact_sheet import write_contact_sheet  # noqa: E402
from tiny_figures import shuffle_sides, write_tiny_figures  # noqa: E402
from tiny_masks import write_tiny_masks  # noqa: E402
from tiny_shapes import write_tiny_shapes  # noqa: E402

CONFIGS = {
    'fine-tune': ROOT / 'configs/rfdetr/rfdetr_tiny_shapes.py',
    'from-scratch': ROOT / 'configs/rfdetr/rfdetr_tiny_shapes-scratch.py',
    'probe': ROOT / 'configs/rfdetr/rfdetr_tiny_shapes-probe.py',
    'masks': ROOT / 'configs/rfdetr_seg/rfdetr-seg_tiny_masks.py',
    'figures': ROOT / 'configs/rfdetr_pose/rfdetr-pose_tiny_figures.py',
}
# Kind of demo: its data set; that of all others is the shapes.
DATA_SETS = {
    'masks': ('tiny_masks', write_tiny_masks),
    'figures': ('tiny_figures', write_tiny_figures),
}
SHAPES = ('tiny_shapes', write_tiny_shapes)


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
        seed: The seed of the shuffling.

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


def shuffled_file(kind: str, folder: Path) -> str:
    """Write a training file that has nothing to teach.

    Args:
        kind: The demo, a key of ``CONFIGS``.
        folder: The data set's.

    Returns:
        Name of the new annotation file in the folder: with classes shuffled
        over the boxes; of figures left and right are at random.
    """
    if kind != 'figures':
        return shuffle_labels(folder)
    name = 'train_shuffled.json'
    shuffle_sides(folder / 'train.json', folder / name)
    return name


def test_metrics(log_dir: Path) -> dict[str, float]:
    """What the latest run of ``tools/test.py`` in a folder measured."""
    path = max(log_dir.glob('*/[0-9]*.json'))
    return json.loads(path.read_text().splitlines()[-1])


def best_checkpoint(work_dir: Path) -> Path:
    """The checkpoint with the best validation AP of a finished training."""
    return max(
        work_dir.glob('best_coco_*_mAP_epoch_*.pth'),
        key=lambda path: path.stat().st_mtime,
    )


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        '--masks',
        dest='kind',
        action='store_const',
        const='masks',
        help='segment instances instead of detecting boxes alone',
    )
    kind.add_argument(
        '--figures',
        dest='kind',
        action='store_const',
        const='figures',
        help='find the keypoints of drawn figures, from random weights',
    )
    kind.add_argument(
        '--from-scratch',
        dest='kind',
        action='store_const',
        const='from-scratch',
        help='train from random weights, three times as long',
    )
    kind.add_argument(
        '--probe',
        dest='kind',
        action='store_const',
        const='probe',
        help='train new class rows on frozen weights, nothing else',
    )
    parser.set_defaults(kind='fine-tune')
    parser.add_argument(
        '--data-dir',
        type=Path,
        help='where the data set is drawn (default: data/tiny_shapes, '
        'data/tiny_masks or data/tiny_figures)',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        help='where results go (default: work_dirs/demo, or demo_masks, '
        'demo_figures, demo_probe, demo_from_scratch beside it)',
    )
    parser.add_argument(
        '--shuffle-labels',
        action='store_true',
        help='train on shuffled classes, of figures on left and right at '
        'random: a model that still scores well would not have learned from '
        'them',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='handed to tools/train.py and tools/test.py',
    )
    return parser.parse_args(argv)


def config_options(data_dir: Path, train_file: str) -> list[str]:
    """Options that tell the config where the data set is.

    Args:
        data_dir: The data set's folder.
        train_file: Name of the annotation file to train on.
    """
    options = [
        f'data_root={data_dir}/',
        f'train_dataloader.dataset.ann_file={train_file}',
    ]
    for split in ('train', 'val', 'test'):
        options.append(f'{split}_dataloader.dataset.data_root={data_dir}/')
    for split in ('val', 'test'):
        options.append(f'{split}_evaluator.ann_file={data_dir}/{split}.json')
    return options


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run the demo and return the metrics of the test split."""
    args = parse_args(argv)
    config = CONFIGS[args.kind]
    data_set, write_data_set = DATA_SETS.get(args.kind, SHAPES)
    data_dir = args.data_dir or ROOT / 'data' / data_set
    suffix = '' if args.kind == 'fine-tune' else f'_{args.kind}'
    work_dir = args.work_dir or (
        ROOT / 'work_dirs' / f'demo{suffix}'.replace('-', '_')
    )
    data_dir, work_dir = data_dir.resolve(), work_dir.resolve()
    write_data_set(data_dir)
    train_file = (
        shuffled_file(args.kind, data_dir)
        if args.shuffle_labels
        else 'train.json'
    )
    options = ['--cfg-options', *config_options(data_dir, train_file)]
    options += args.cfg_options

    start = time.monotonic()
    run_tool('train.py', config, '--work-dir', work_dir, *options)
    minutes = (time.monotonic() - start) / 60
    predictions = work_dir / 'test_predictions.pkl'
    run_tool(
        *('test.py', config, best_checkpoint(work_dir)),
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
        f'{"; ".join(_results(metrics))}.\n'
        f'Truth beside predictions: {sheet}\n'
        f'Loss and AP:              {curve}\n'
        f'Checkpoint:               {best_checkpoint(work_dir)}'
    )
    return metrics


def _results(metrics: dict[str, float]) -> list[str]:
    """AP of the boxes and, if there are any, of masks or keypoints."""
    return [
        f'{name} AP {100 * metrics[f"coco/{kind}_mAP"]:.1f}, '
        f'AP50 {100 * metrics[f"coco/{kind}_mAP_50"]:.1f}'
        for kind, name in (
            ('bbox', 'box'),
            ('segm', 'mask'),
            ('keypoint', 'keypoint'),
        )
        if f'coco/{kind}_mAP' in metrics
    ]


if __name__ == '__main__':
    main()
