"""What the demos of images and videos share: choosing a model.

Imported first, so that a demo run from any folder takes the package beside it.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rfdetr_mm.apis import RFDETRInferencer  # noqa: E402
from rfdetr_mm_light.command_line.options import score  # noqa: E402
from rfdetr_mm_light.scores import SCORE_THRESHOLD  # noqa: E402

CHECKPOINTS = ('.pth', '.pt', '.ckpt')


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add mmdet's options of a model, and what it may do."""
    parser.add_argument(
        'model',
        help='a name (rfdetr_nano_coco), a config file, a checkpoint of a '
        'training, which has its config with it, or an exported file',
    )
    parser.add_argument(
        '--weights',
        help="checkpoint, rfdetr's own files too; with a name the published "
        'file is the default',
    )
    parser.add_argument(
        '--device', help='such as cpu or cuda:0 (default: the best there is)'
    )
    parser.add_argument(
        '--pred-score-thr',
        type=score,
        default=SCORE_THRESHOLD,
        help='detections up to this score, 0 to 1, are not painted (default: '
        f'{SCORE_THRESHOLD})',
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=1,
        help='what the model sees at a time (default: 1)',
    )
    parser.add_argument(
        '--resolution',
        type=int,
        nargs='+',
        metavar='PX',
        help="image size in place of the config's: the side of a square, or "
        'height and width',
    )
    parser.add_argument(
        '--palette',
        default='none',
        help="colours: random, coco or voc (default: the data set's)",
    )


def build_inferencer(
    args: argparse.Namespace,
    inferencer_type: type[RFDETRInferencer] = RFDETRInferencer,
    **options: Any,
) -> RFDETRInferencer:
    """Build what the options name.

    Args:
        args: Parsed options of :func:`add_model_options`.
        inferencer_type: The class.
        **options: Further arguments of it.
    """
    model, weights = args.model, args.weights
    if model.endswith(CHECKPOINTS):
        model, weights = None, model
    resolution = args.resolution
    if resolution is not None and len(resolution) == 1:
        (resolution,) = resolution
    return inferencer_type(
        model,
        weights,
        args.device,
        palette=args.palette,
        resolution=resolution,
        **options,
    )


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """End the program with one line at what its user can cure."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise SystemExit(f'{Path(sys.argv[0]).name}: error: {error}') from None
