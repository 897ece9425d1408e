"""Detections for files, folders and arrays, in a line of Python."""

import copy
import inspect
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mmengine
import numpy as np
from mmdet.apis import DetInferencer
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmengine.infer.infer import ConfigType, ModelType
from PIL import Image
from torch import nn

from rfdetr_mm.checkpoints import CLASS_ROW_WEIGHTS
from rfdetr_mm.datasets import LoadCheckedImage
from rfdetr_mm.datasets.orientation import ignores_orientation
from rfdetr_mm.errors import InputError
from rfdetr_mm.registry import SCOPE
from rfdetr_mm.sizes.config_facts import check_sizes_agree, set_resolution
from rfdetr_mm.sizes.data_sets import named_classes
from rfdetr_mm_light.exported_files import is_exported
from rfdetr_mm_light.scores import SCORE_THRESHOLD
from rfdetr_runtime import ExportedModel, load
from rfdetr_runtime.image_file import (
    IMAGE_SUFFIXES,
    list_images,
    read_size,
)
from rfdetr_runtime.pictures import as_rgb

from .devices import find_device
from .exported import ExportedDetector, config_of_file
from .no_random_weights import no_random_weights

_ROWS_KEY = CLASS_ROW_WEIGHTS[0][0]


class RFDETRInferencer(DetInferencer):
    """mmdet's ``DetInferencer`` that knows RF-DETR's models by name.

    ``RFDETRInferencer('rfdetr_nano_coco')('street.jpg', out_dir='out')``
    fetches the published weights and writes predictions and pictures. Images
    are treated as by ``tools/test.py``.

    Differs from its parent: without a scope, names are those of RF-DETR's
    configs; a checkpoint whose classes are not the config's is an error, and
    one without class names takes the config's and not COCO's; an image that
    cannot be read is named; of a folder all image files are taken, also
    ``A.JPG``; an image may be a ``pathlib.Path``, a Pillow image or a grey
    array, too, and arrays, which are BGR, are painted as such.

    Args:
        model: A name (``'rfdetr_nano_coco'``, ``'rf-detr-nano'``), a config
            file or a config, or an exported file, such as ``'a.onnx'``, which
            :mod:`rfdetr_runtime` runs. If None, it is taken from
            ``weights``, which then must be a checkpoint of a training.
        weights: A checkpoint file or address, upstream's files included. If
            None and the model is a name, the published ones.
        device: Such as ``'cpu'`` or ``'cuda:0'``; the best one if None.
        scope: The package that the name is looked up in.
        palette: Colours for painting, as in mmdet's visualizer.
        show_progress: Whether to show a progress bar.
        resolution: Image size that replaces the config's, the side of a
            square or (height, width), in pixels.

    Raises:
        InputError: If ``resolution`` is not a size that the model can take, or
            the places of the config say different sizes.
        InputError: If the name is unknown, the licence of the weights was
            not accepted, or weights and config do not fit each other.
    """

    def __init__(
        self,
        model: ModelType | str | None = None,
        weights: str | None = None,
        device: str | None = None,
        scope: str = SCOPE,
        palette: str = 'none',
        show_progress: bool = True,
        resolution: int | tuple[int, int] | None = None,
    ) -> None:
        self.resolution = resolution
        self._file = None
        if isinstance(model, (str, os.PathLike)) and is_exported(model):
            self._file = load(model, device=device)
            _check_file(self._file, weights, resolution)
            model, device = config_of_file(self._file), 'cpu'
        super().__init__(
            model=model,
            weights=weights,
            device=None if device is None else str(find_device(device)),
            scope=scope,
            palette=palette,
            show_progress=show_progress,
        )

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> dict:
        """Detect objects, as mmdet's inferencer does.

        Args:
            inputs: Images, as ``DetInferencer`` takes them.
            *args: As for ``DetInferencer``.
            **kwargs: As for ``DetInferencer``; what is painted has scores
                above ``pred_score_thr``, by default the threshold of
                ``predict()``, 0.5.
        """
        given = inspect.signature(super().__call__).bind(
            inputs, *args, **kwargs
        )
        if 'pred_score_thr' not in given.arguments:
            kwargs['pred_score_thr'] = SCORE_THRESHOLD
        return super().__call__(inputs, *args, **kwargs)

    def _inputs_to_list(self, inputs: Any) -> list[str | np.ndarray]:
        """List the images as mmdet takes them, folders as our reader does.

        Raises:
            InputError: If something in ``inputs`` is not an image, or a
                folder has none.
        """
        if isinstance(inputs, os.PathLike):
            inputs = os.fspath(inputs)
        if isinstance(inputs, str) and os.path.isdir(inputs):
            folder = inputs
            inputs = [str(file) for file in list_images(folder)]
            if not inputs:
                raise InputError(
                    f'the folder {folder} has no images '
                    f'({", ".join(IMAGE_SUFFIXES)})'
                )
        mean = getattr(self.model.data_preprocessor, 'mean', None)
        num_channels = 3 if mean is None else len(mean)
        return [
            _path_or_array(image, num_channels)
            for image in super()._inputs_to_list(inputs)
        ]

    def visualize(
        self, inputs: Sequence[str | np.ndarray], *args: Any, **kwargs: Any
    ) -> list[np.ndarray] | None:
        """Paint predictions on the pixels that the model saw.

        mmdet takes arrays for RGB here, and turns files by their EXIF
        orientation, which the loader may have ignored.

        Args:
            inputs: Paths, addresses or arrays (H, W, 3), BGR.
            *args: The other arguments of ``DetInferencer.visualize``.
            **kwargs: The other arguments of ``DetInferencer.visualize``.
        """
        with tempfile.TemporaryDirectory() as folder:
            inputs = [
                self._as_seen(image, Path(folder, str(number)))
                if isinstance(image, str)
                else image[..., ::-1]
                for number, image in enumerate(inputs)
            ]
            return super().visualize(inputs, *args, **kwargs)

    def pred2dict(
        self, data_sample: DetDataSample, pred_out_dir: str = ''
    ) -> dict[str, Any]:
        """Plain data of an image's detections.

        Args:
            data_sample: What the model has found.
            pred_out_dir: Folder for a JSON file of it; none if empty.

        Returns:
            What mmdet gives, and with keypoints ``keypoints``: for every
            object (x, y, score) of those of its class, in pixels.
        """
        instances = data_sample.get('pred_instances', {})
        if 'keypoints' not in instances:
            return super().pred2dict(data_sample, pred_out_dir)
        result = super().pred2dict(data_sample)
        result['keypoints'] = [
            [[*place, score] for place, score in zip(*points) if score > 0]
            for points in zip(
                instances.keypoints.tolist(),
                instances.keypoint_scores.tolist(),
            )
        ]
        if pred_out_dir:
            name = Path(data_sample.get('img_path', '')).stem
            if not name:
                name = str(self.num_predicted_imgs)
                self.num_predicted_imgs += 1
            file = Path(pred_out_dir, 'preds', f'{name}.json')
            mmengine.dump(result, str(file))
        return result

    def _as_seen(self, path: str, folder: Path) -> str:
        """Path of a file, or of a copy that is stored as the model saw it."""
        loader = next(
            step.from_file
            for step in self.pipeline.transforms
            if hasattr(step, 'from_file')
        )
        if not os.path.isfile(path) or not ignores_orientation([loader]):
            return path
        if read_size(path)[1] == 1:
            return path
        folder.mkdir()
        # Under the same name, which that of the painted picture is made of;
        # it is decoded by its content.
        copy_of_it = folder / os.path.basename(path)
        Image.fromarray(as_rgb(path)).save(copy_of_it, format='PNG')
        return str(copy_of_it)

    def _load_model_from_metafile(self, model: str) -> tuple[Config, str]:
        """Find config and weights by name; say which names there are."""
        folder = self._get_repo_or_mim_dir(self.scope)
        entries = list(self._get_models_from_metafile(folder))
        names = {entry['Name'] for entry in entries}
        known = names.union(*(entry.get('Alias', ()) for entry in entries))
        if model.lower() not in known:
            raise InputError(
                f'{model!r} is neither a config file nor a model of '
                f'{self.scope}, which are: {", ".join(sorted(names))}.'
            )
        return super()._load_model_from_metafile(model)

    def _init_model(
        self, cfg: ConfigType, weights: str | None, device: str = 'cpu'
    ) -> nn.Module:
        """Build the model; one that a checkpoint fills draws no weights."""
        if self._file is not None:
            named = self.palette != 'none'
            return ExportedDetector(
                self._file, self.palette if named else 'random'
            )
        self._settle_size(cfg)
        model = (cfg or {}).get('model', {})
        # A checkpoint fits RFDETR in full or is refused; adapters may be new.
        if weights is None or (model.get('type'), model.get('adapters')) != (
            'RFDETR',
            None,
        ):
            return super()._init_model(cfg, weights, device)
        with no_random_weights():
            return super()._init_model(cfg, weights, device)

    def _settle_size(self, cfg: ConfigType | None) -> None:
        if not cfg:
            return  # that of the checkpoint, which is read later
        if self.resolution is not None:
            set_resolution(cfg, self.resolution)
        check_sizes_agree(cfg)

    def _load_weights_to_model(
        self, model: nn.Module, checkpoint: dict | None, cfg: ConfigDict
    ) -> None:
        """Load weights and class names, refusing those of other classes."""
        self._settle_size(cfg)
        if checkpoint is None:
            warnings.warn(
                'No weights were given: the predictions are those of random '
                'weights.',
                stacklevel=2,
            )
            checkpoint = dict(state_dict=model.state_dict())
        elif 'state_dict' not in checkpoint:
            checkpoint = dict(state_dict=checkpoint)
        meta = checkpoint.get('meta') or {}
        names = _class_names(meta) or _class_names_of_config(cfg)
        dataset_meta = {**meta.get('dataset_meta', {}), 'classes': names}
        meta = {**meta, 'dataset_meta': dataset_meta}
        super()._load_weights_to_model(
            model, {**checkpoint, 'meta': meta}, cfg
        )
        rows = model.state_dict().get(_ROWS_KEY)
        if rows is not None and len(rows) != len(names):
            raise InputError(
                f'The model has num_classes={len(rows)}, but there are '
                f'{len(names)} class names: {", ".join(names[:10])}. They are '
                'meta.dataset_meta.classes of the checkpoint, or if it has '
                'none, test_dataloader.dataset.metainfo.classes of the config.'
            )

    def _init_pipeline(self, cfg: ConfigDict) -> Compose:
        """Build the test pipeline for paths and arrays."""
        steps = cfg.test_dataloader.dataset.pipeline
        for step in steps:
            if step['type'] in ('LoadCheckedImage', LoadCheckedImage):
                step['type'] = 'LoadImageFromFile'
                step.pop('skip_unreadable', None)
        index = self._get_transform_idx(steps, ('LoadImageFromFile',))
        options = {k: v for k, v in steps[index].items() if k != 'type'}
        pipeline = super()._init_pipeline(cfg)
        pipeline.transforms[index].from_file = LoadCheckedImage(**options)
        return pipeline


def _check_file(
    file: ExportedModel, weights: str | None, resolution: Any
) -> None:
    """Refuse options that an exported file has no room for."""
    if weights is not None:
        raise InputError(
            f'{file.file} is an exported file, which has its weights: leave '
            f'weights={weights!r} out'
        )
    if resolution is not None:
        size = resolution
        file.check((size, size) if isinstance(size, int) else size, None)


def _path_or_array(image: Any, num_channels: int) -> str | np.ndarray:
    if isinstance(image, (str, os.PathLike)):
        return os.fspath(image)
    if isinstance(image, Image.Image):
        return np.ascontiguousarray(as_rgb(image)[..., ::-1])
    if not isinstance(image, np.ndarray):
        raise InputError(
            'an image must be a path, an address, a Pillow image or a BGR '
            f'array (H, W, {num_channels}), got {type(image).__name__}'
        )
    if image.ndim == 2:
        image = np.stack([image] * num_channels, axis=-1)
    if image.dtype != np.uint8 or image.shape[2:] != (num_channels,):
        raise InputError(
            'an array must be uint8, from 0 to 255, of the shape (H, W, '
            f'{num_channels}), BGR, or (H, W), got {image.dtype} of the '
            f'shape {image.shape}'
        )
    return image


def _class_names(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the class names in a checkpoint's meta data, if there are any.

    Args:
        meta: It has ``dataset_meta``, or ``CLASSES`` as before mmdet 3.
    """
    return named_classes(meta.get('dataset_meta', meta))


def _class_names_of_config(cfg: ConfigDict) -> tuple[str, ...]:
    dataset = copy.deepcopy(cfg.test_dataloader.dataset)
    dataset.lazy_init = True
    return named_classes(DATASETS.build(dataset).metainfo)
