"""Time what keypoints cost: ``keypoint_cost.py``.

RF-DETR Keypoint Preview beside a detector that is the same but for the
keypoints: same backbone, image size, decoder and queries. Both take turns in
every round, with the same images and objects. Prints a table.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from clone import ROOT
from options import parser, positive
from paired_rounds import cpu_name, paired_rounds, ratio, say, spread

# isort: split
from mmengine.config import Config  # noqa: E402
from report import ratio_cell, span, table  # noqa: E402
from sides import Ours  # noqa: E402
from upstream import KEYPOINT_VARIANT  # noqa: E402

CONFIG = ROOT / 'configs/rfdetr_pose/rfdetr-pose_preview_coco.py'
NAMES = ('with keypoints', 'without')


def detector_config() -> Config:
    """The config of Keypoint Preview, its keypoints taken out."""
    cfg = Config.fromfile(CONFIG)
    cfg.model.neck.type = 'MultiScaleProjector'
    head = cfg.model.bbox_head
    head.type = 'RFDETRHead'
    for name in [name for name in head if 'keypoint' in name]:
        del head[name]
    assigner = cfg.model.train_cfg.assigner
    assigner.match_costs = [
        cost for cost in assigner.match_costs if 'Keypoint' not in cost.type
    ]
    del cfg.model.test_cfg['trace_alpha']
    return cfg


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    given = parser('Time what keypoints cost')
    given.add_argument('--rounds', type=positive, default=11, help='timed')
    given.add_argument(
        '--batch-size', type=positive, default=2, help='of training'
    )
    return given.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print the table and return the seconds of each round."""
    args = parse_args(argv)
    models = [
        Ours(KEYPOINT_VARIANT, cfg=cfg)
        for cfg in (Config.fromfile(CONFIG), detector_config())
    ]
    works = {
        'forward, batch 1': [one.forward(1) for one in models],
        f'training step, batch {args.batch_size}': [
            one.train_step(args.batch_size) for one in models
        ],
    }
    found, lines = {}, []
    for what, pair in works.items():
        for one in models:
            one.model.train('training' in what)
        seconds = paired_rounds(dict(zip(NAMES, pair)), args.rounds, say)
        found[what] = seconds
        both = [seconds[name] for name in NAMES]
        lines.append(
            [
                f'{what} (ms)',
                *(span(spread(values), '.4g', 1000) for values in both),
                ratio_cell(ratio(*both)),
            ]
        )
    print(f'{cpu_name()}\n')
    print(table(['', *NAMES, 'ratio (low to high)'], lines))
    return found


if __name__ == '__main__':
    main()
