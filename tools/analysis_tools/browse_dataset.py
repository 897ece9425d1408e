"""Show what the model is fed: ``browse_dataset.py CONFIG --out grid.png``.

One picture with a grid of images as they leave the pipeline of the config,
augmented and resized, with boxes, class names and, if there are any, masks.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from run_config import (  # noqa: E402  (puts this clone in front)
    add_cfg_options,
    input_errors_in_one_line,
    read_config,
    stop,
)

# isort: split
from mmdet.registry import DATASETS  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from mmdet.structures.bbox import get_box_tensor, scale_boxes  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402
from mmdet.visualization import DetLocalVisualizer  # noqa: E402
from mmengine.config import Config  # noqa: E402

from rfdetr_mm.datasets import resolve_own_data  # noqa: E402
from rfdetr_mm.engine import SeededDataset  # noqa: E402

GAP = 6  # px between the images
MAX_SIDE = 480  # px of an image in the grid


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Draw images as the pipeline makes them, with their boxes'
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('grid.png'),
        help='picture to write (default: grid.png)',
    )
    parser.add_argument(
        '--num', type=int, default=16, help='how many images (default: 16)'
    )
    parser.add_argument(
        '--split',
        choices=['train', 'val', 'test'],
        default='train',
        help='whose images and pipeline (default: train)',
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='of the choice and the augmentations (default: 0)',
    )
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    if args.num < 1:
        stop(f'--num has to be at least 1, got {args.num}')
    return args


def draw_samples(
    cfg: Config, split: str, num: int, seed: int
) -> list[np.ndarray]:
    """Draw images of a split, chosen at random, each at most once.

    Args:
        cfg: The config, its data set filled in.
        split: ``train``, ``val`` or ``test``.
        num: Images wanted; a smaller data set gives all it has.
        seed: Of the choice and of the augmentations.

    Returns:
        uint8 RGB pictures, shape (h, w, 3).
    """
    dataset_cfg = cfg[f'{split}_dataloader'].dataset
    dataset = SeededDataset(DATASETS.build(dataset_cfg))
    is_bgr = cfg.model.data_preprocessor.get('bgr_to_rgb', False)
    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = dataset.metainfo
    order = np.random.default_rng(seed).permutation(len(dataset))[:num]
    pictures = []
    for number, index in enumerate(order.tolist()):
        packed = dataset[index, (seed, number)]
        image = packed['inputs'].numpy().transpose(1, 2, 0)
        if is_bgr:
            image = image[..., ::-1]
        sample = packed['data_samples']
        if 'gt_instances' in sample:
            follow = _annotations_follow_resize(dataset_cfg)
            _prepare_truth(sample, in_original_pixels=follow)
        visualizer.add_datasample(
            'sample',
            np.ascontiguousarray(image.clip(0, 255).astype(np.uint8)),
            sample,
            draw_pred=False,
        )
        pictures.append(visualizer.get_image())
    return pictures


def _annotations_follow_resize(dataset_cfg: dict) -> bool:
    """Whether boxes are loaded, in original pixels, behind the resizing."""
    while 'dataset' in dataset_cfg:
        dataset_cfg = dataset_cfg['dataset']
    steps = [str(step['type']) for step in dataset_cfg.get('pipeline', [])]
    if 'LoadAnnotations' not in steps:
        return False
    before = steps[: steps.index('LoadAnnotations')]
    return any('Resize' in step for step in before)


def _prepare_truth(sample: DetDataSample, in_original_pixels: bool) -> None:
    truth = sample.gt_instances
    if in_original_pixels:
        truth.bboxes = scale_boxes(truth.bboxes, sample.scale_factor)
        if 'masks' in truth:
            truth.masks = truth.masks.resize(sample.img_shape[:2])
    truth.bboxes = get_box_tensor(truth.bboxes)  # the visualizer's wish


def write_grid(pictures: list[np.ndarray], target: Path) -> None:
    """Write pictures into a grid that is about as wide as high.

    Args:
        pictures: uint8 RGB, shape (h, w, 3), of any sizes; those with a side
            of more than ``MAX_SIDE`` are shrunk.
        target: Picture file; its folder is made.
    """
    tiles = [Image.fromarray(picture) for picture in pictures]
    for tile in tiles:
        tile.thumbnail((MAX_SIDE, MAX_SIDE))
    width = max(tile.width for tile in tiles) + GAP
    height = max(tile.height for tile in tiles) + GAP
    columns = int(np.ceil(np.sqrt(len(tiles))))
    rows = -(-len(tiles) // columns)
    grid = Image.new(
        'RGB', (columns * width + GAP, rows * height + GAP), 'white'
    )
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        grid.paste(tile, (GAP + column * width, GAP + row * height))
    target.parent.mkdir(parents=True, exist_ok=True)
    grid.save(target)


def main(argv: Sequence[str] | None = None) -> Path:
    """Write the grid and return the path of the picture."""
    args = parse_args(argv)
    register_all_modules(init_default_scope=True)
    with input_errors_in_one_line():
        cfg = read_config(args)
        resolve_own_data(cfg)
        pictures = draw_samples(cfg, args.split, args.num, args.seed)
    write_grid(pictures, args.out)
    print(f'{len(pictures)} images of the {args.split} set in {args.out}')
    return args.out


if __name__ == '__main__':
    main()
