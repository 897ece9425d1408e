"""Pictures of what a model is fed: images as the pipeline makes them."""

import warnings
from pathlib import Path

import numpy as np
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dist import is_main_process
from PIL import Image

from rfdetr_mm.datasets.truth_of_input import (
    annotations_follow_resize,
    truth_of_input,
)
from rfdetr_mm.engine import PoseLocalVisualizer, SeededDataset
from rfdetr_mm.engine.visualizer import number_of
from rfdetr_runtime.painting import with_heading

GAP = 6  # px between the images
MAX_SIDE = 480  # px of an image in the grid
NUM_IMAGES = 16


def draw_samples(
    cfg: Config, split: str, num: int, seed: int
) -> list[np.ndarray]:
    """Draw images of a split, chosen at random, each at most once.

    Args:
        cfg: The config, its data set filled in.
        split: ``train``, ``val`` or ``test``.
        num: Images wanted; a smaller data set gives all it has.
        seed: What the choice of images and the augmentations start from.

    Returns:
        uint8 RGB pictures, shape (h, w, 3).
    """
    dataset_cfg = cfg[f'{split}_dataloader'].dataset
    dataset = SeededDataset(DATASETS.build(dataset_cfg))
    is_bgr = cfg.model.data_preprocessor.get('bgr_to_rgb', False)
    visualizer = PoseLocalVisualizer()
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
            follow = annotations_follow_resize(dataset_cfg)
            sample.gt_instances = truth_of_input(sample, follow)
        visualizer.add_datasample(
            'sample',
            np.ascontiguousarray(image.clip(0, 255).astype(np.uint8)),
            sample,
            draw_pred=False,
        )
        pictures.append(
            with_heading(
                visualizer.get_image(),
                number_of(len(sample.get('gt_instances', ())), 'object'),
                Path(sample.get('img_path', '')).name,
            )
        )
    return pictures


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


def save_grids(cfg: Config, folder: Path) -> None:
    """Write ``train.png`` and ``val.png``, in the main process only.

    A failure here is a warning, because training does not need the pictures.

    Args:
        cfg: The config, its data set filled in.
        folder: Where the pictures are written; the folder is made.
    """
    if not is_main_process():
        return
    for split in ('train', 'val'):
        try:
            register_all_modules(init_default_scope=True)
            pictures = draw_samples(cfg, split, NUM_IMAGES, seed=0)
            write_grid(pictures, folder / f'{split}.png')
        except Exception as error:
            warnings.warn(
                f'The grid of the {split} images was not drawn: {error!r}',
                stacklevel=2,
            )
