"""Images from which static quantisation learns ranges."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdeploy.codebase.base import BaseTask
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from rfdetr_mm.datasets import LoadCheckedImage
from rfdetr_mm.errors import InputError
from rfdetr_runtime.image_file import IMAGE_SUFFIXES, list_images

MAX_IMAGES = 100


def read_calibration(file: Path | None) -> list[np.ndarray]:
    """Read the file that mmdeploy's ``create_calib_input_data`` writes.

    Args:
        file: An HDF5 file.

    Returns:
        Normalised images, shape (bs, channels, h_px, w_px) each; at most
        ``MAX_IMAGES`` of them, evenly spread.

    Raises:
        InputError: If there is none or it holds no images.
    """
    if file is None or not file.is_file():
        raise InputError(
            'static int8 needs images to calibrate with, and there are none: '
            'name a folder of images, or set calib_config=dict('
            "create_calib=True, calib_file='calib_data.h5') in the deploy "
            'config, which takes the validation images of the model config'
        )
    import h5py

    try:
        with h5py.File(file) as content:
            group = content['calib_data/end2end/input']
            keys = evenly(sorted(group, key=int))
            images = [group[key][...].astype(np.float32) for key in keys]
    except (OSError, KeyError) as error:
        raise InputError(
            f'{file} is not a calibration file of mmdeploy: {error}'
        ) from error
    if not images:
        raise InputError(f'{file} holds no image to calibrate with')
    return images


def folder_calibration(folder: str | Path, task: BaseTask) -> Iterator[Any]:
    """Read and normalise the images of a folder, as the model's test does.

    Args:
        folder: A folder with images; not searched below.
        task: Built for the model and the deploy config; its images get the
            exported size.

    Returns:
        Normalised images one by one, shape (1, channels, h_px, w_px); at
        most ``MAX_IMAGES``, evenly spread over the sorted names.

    Raises:
        InputError: If the folder is missing or without images; later, if one
            of them cannot be read.
    """
    if not str(folder) or not Path(folder).is_dir():
        raise InputError(f'{str(folder)!r}, for calibration, is not a folder')
    files = list_images(folder)
    if not files:
        raise InputError(
            f'{folder}, for calibration, has no image '
            f'({", ".join(IMAGE_SUFFIXES)})'
        )
    return _read_folder(evenly(files), task)


def _read_folder(files: list[Path], task: BaseTask) -> Iterator[np.ndarray]:
    preprocessor = task.build_data_preprocessor()
    options = dict(task.model_cfg.test_pipeline[0])
    options.pop('type')
    # As an array, because mmdeploy's own loader is mmcv's.
    load = LoadCheckedImage(**options)
    for file in files:
        try:
            pixels = load(dict(img_path=str(file)))['img']
            _, images = task.create_input(
                pixels, task.input_shape, preprocessor
            )
        except (AssertionError, OSError, ValueError) as error:
            raise InputError(
                f'{file}, for calibration, cannot be read: {error}'
            ) from error
        yield torch.stack(list(images)).numpy()


def evenly(items: list, count: int = MAX_IMAGES) -> list:
    """At most ``count`` of the items, evenly spread."""
    if len(items) <= count:
        return items
    return [items[i * len(items) // count] for i in range(count)]


def dataset_calibration(
    cfg: str | Path | Config, task: BaseTask
) -> Iterator[np.ndarray]:
    """Read and normalise validation images of a config.

    Args:
        cfg: A config with ``val_dataloader``.
        task: See :func:`folder_calibration`.

    Yields:
        Normalised images, shape (1, channels, h_px, w_px); at most
        ``MAX_IMAGES``, evenly spread.

    Raises:
        InputError: If the data set has no images.
    """
    cfg = cfg if isinstance(cfg, Config) else Config.fromfile(cfg)
    dataset = task.build_dataset(cfg.val_dataloader.dataset)
    if not len(dataset):
        raise InputError(
            'the validation set, for calibration, has no images: '
            f'{cfg.val_dataloader.dataset.get("ann_file")}'
        )
    preprocessor = task.build_data_preprocessor()
    for i in evenly(list(range(len(dataset)))):
        batch = preprocessor(pseudo_collate([dataset[i]]), False)
        yield batch['inputs'].numpy()
