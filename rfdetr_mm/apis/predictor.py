"""Load a model of upstream's or ours, and detect objects in images."""

import difflib
import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from rfdetr_mm.checkpoints import read_checkpoint
from rfdetr_mm.errors import InputError
from rfdetr_mm.processor import usable_dtype
from rfdetr_mm.sizes.shipped import read_config_of
from rfdetr_mm_light.scores import SCORE_THRESHOLD
from rfdetr_mm_light.sizes import SIZES, Size

from .arguments import (
    check_patch_size,
    floating_dtype,
    input_shape,
)
from .detections import import_supervision, to_supervision
from .images import ImageInput, load_image
from .in_process import optimize
from .model_config import ModelConfig, make_model_config, positive_int
from .model_context import ModelContext, OptimizedModel
from .weights import build_detector, locate_weights

if TYPE_CHECKING:
    from supervision import Detections, KeyPoints

_MAX_BATCH = 32  # images that the plain model gets at once


class Predictor:
    """A model of one size: its weights, and what it sees in images.

    Args:
        trust_checkpoint: Not needed, see :meth:`get_model`.
        **kwargs: Fields of :class:`~rfdetr_mm.apis.model_config.ModelConfig`.

    Raises:
        InputError: If a field is unknown or has an impossible value, or
            the weights do not fit.

    Source: rfdetr 1.11.2, detr.py, RFDETR (interface).
    """

    variant: ClassVar[Size | None] = None
    size: ClassVar[str | None] = None
    # Of pixels from 0 to 1, as all configs have them in 0 to 255
    means: ClassVar[list[float]] = [0.485, 0.456, 0.406]
    stds: ClassVar[list[float]] = [0.229, 0.224, 0.225]

    def __init_subclass__(cls) -> None:
        cls.size = None if cls.variant is None else cls.variant.size

    def __init__(
        self, *, trust_checkpoint: bool = False, **kwargs: Any
    ) -> None:
        self._set_up(self.get_model_config(**kwargs), None)

    def _set_up(
        self, config: ModelConfig, content: Mapping[str, Any] | None
    ) -> None:
        self.model_config = config
        self._has_warned = False
        self._was_trained = False
        self._dataset_dir: str | None = None
        if content is None:
            self.maybe_download_pretrain_weights()
        self.model = self.get_model(config, content)

    @classmethod
    def get_model_config(cls, **kwargs: Any) -> ModelConfig:
        """Make the configuration of this size.

        Args:
            **kwargs: Fields of
                :class:`~rfdetr_mm.apis.model_config.ModelConfig`.

        Raises:
            InputError: If a field is unknown or has an impossible value.
        """
        if cls.variant is None:
            raise InputError(
                f'{cls.__name__} has no size of its own; take one of '
                f'{", ".join(SIZES)}, or {cls.__name__}.from_checkpoint().'
            )
        return make_model_config(cls.variant, kwargs)

    def maybe_download_pretrain_weights(self) -> None:
        """Make ``model_config.pretrain_weights`` the path of a local file.

        Published files are downloaded once, to ``$RF_HOME`` or
        ``~/.roboflow/models`` if they are given by their bare names, else to
        the folder that was given.

        Raises:
            FileNotFoundError: If there is no such file.
            ConnectionError: If a download fails.
            InputError: If a licence is not accepted or a file is broken.
        """
        config = self.model_config
        if config.pretrain_weights is not None:
            config.pretrain_weights = locate_weights(
                config.pretrain_weights, config.accept_platform_model_license
            )

    def get_model(
        self,
        config: ModelConfig,
        content: Mapping[str, Any] | None = None,
        path: str | None = None,
        *,
        trust_checkpoint: bool = False,
    ) -> ModelContext:
        """Build the model of a configuration and load its weights.

        Args:
            config: Its ``pretrain_weights`` is the path of a file, or None
                for random weights.
            content: The content of a checkpoint that is taken instead.
            path: The path of that checkpoint, for messages.
            trust_checkpoint: Not needed: files are read as data, whoever
                they are from, and nothing in them is run.

        Raises:
            InputError: If the weights cannot be read or do not fit.
        """
        path = path or config.pretrain_weights
        if content is None and path is not None:
            content = read_checkpoint(path)
        cfg = read_config_of(self.variant)
        detector, names = build_detector(cfg, config, content, path)
        return ModelContext(
            model=detector,
            device=torch.device(config.device),
            resolution=config.resolution,
            class_names=names,
            args=config,
            cfg=cfg,
        )

    @property
    def class_names(self) -> list[str]:
        """Names of the classes; number i is the label i."""
        return list(self.model.class_names)

    def predict(
        self,
        images: ImageInput | Sequence[ImageInput],
        threshold: float = SCORE_THRESHOLD,
        shape: tuple[int, int] | None = None,
        patch_size: int | None = None,
        include_source_image: bool = True,
        **kwargs: Any,
    ) -> 'Detections | KeyPoints | list[Detections] | list[KeyPoints]':
        """Detect objects.

        Args:
            images: Path, http(s) address, Pillow image, RGB array (H, W, 3),
                8-bit or in [0, 1], tensor (C, H, W) in [0, 1], or a list of
                them, of any sizes.
            threshold: Only detections with a higher score are given.
            shape: (height, width) in pixels that images are resized to, both
                multiples of ``patch_size * num_windows``; the square of
                ``resolution`` by default.
            patch_size: The model's, only checked.
            include_source_image: Whether the results keep the image, as
                ``metadata['source_image']``, uint8 RGB.
            **kwargs: Ignored, as in rfdetr, with a warning.

        Returns:
            supervision's Detections, a list of them for a list: ``xyxy`` in
            pixels of the image, ``confidence``, ``class_id`` (0-based),
            ``mask`` of the image's size if the size has masks,
            ``data['class_name']`` and ``data['source_shape']``, rows
            (height, width). RFDETRKeypointPreview returns supervision's
            KeyPoints, see
            :func:`rfdetr_runtime.keypoints.to_key_points`.

        Raises:
            FileNotFoundError: If there is no such file.
            ConnectionError: If an address cannot be fetched.
            InputError: If an image cannot be read, has values outside
                [0, 1] or other channels than the model, or ``shape`` or the
                number of images does not fit the (optimised) model.
            TypeError: If an image is of another type.
            ImportError: If supervision is not installed.
        """
        import_supervision()
        if kwargs:
            _warn_of_ignored(kwargs)
        check_patch_size(patch_size, self.model_config)
        input_hw = input_shape(shape, self.model_config)
        is_list = isinstance(images, (list, tuple))
        images = images if is_list else [images]
        self.model.check_optimized(input_hw, len(images))
        self._hint_at_optimizing()
        num_channels = self.model_config.num_channels
        at_once = self._images_at_once()
        results = []
        for start in range(0, len(images), at_once):
            loaded = [
                load_image(image, num_channels, include_source_image)
                for image in images[start : start + at_once]
            ]
            found = self.model.detect(loaded, input_hw, threshold)
            results += [
                to_supervision(
                    detections, self.class_names, image.size_hw, image.source
                )
                for detections, image in zip(found, loaded)
            ]
        return results if is_list else results[0]

    def _images_at_once(self) -> int:
        optimized = self.model.inference_model
        return (optimized and optimized.batch_size) or _MAX_BATCH

    def _hint_at_optimizing(self) -> None:
        if self.model.inference_model is None and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                'The model is not optimised for inference: '
                'optimize_for_inference() makes predict() faster.',
                stacklevel=3,
            )

    def optimize_for_inference(
        self,
        compile: bool = True,
        batch_size: int = 1,
        dtype: torch.dtype | str = torch.float32,
        *,
        inplace: bool = False,
        compile_backend: str = 'torchscript',
    ) -> None:
        """Let :meth:`predict` use a faster copy of the model.

        The copy takes images of the model's resolution only. The model
        itself stays as it is; if anything fails, it is not optimised.

        Args:
            compile: Whether to trace or compile the copy, for a fixed
                number of images.
            batch_size: Images per call; not used without ``compile``.
            dtype: A floating-point dtype or its name. bfloat16 becomes
                float32, with a warning, on a CPU without units for it.
            inplace: Change the model itself, to save the memory of a copy;
                only with ``compile=False``. It cannot be trained, evaluated
                or exported any more, nor can this be undone.
            compile_backend: ``'torchscript'`` (``torch.jit.trace``) or
                ``'inductor'`` (``torch.compile``), which takes much longer
                to start.

        Raises:
            TypeError: If ``dtype`` is neither a dtype nor the name of one.
            InputError: If it is not of floating point, or another argument
                has an impossible value.
            RuntimeError: If the model was optimised in place before.
        """
        detector = self.model.require_model('optimise it again')
        if inplace and compile:
            raise InputError(
                'inplace=True changes the model itself, without a trace or '
                'compiled copy: give compile=False as well'
            )
        self.remove_optimized_model()
        dtype = usable_dtype(floating_dtype(dtype), self.model.device)
        batch_size = positive_int('batch_size', batch_size)
        side = self.model.resolution
        network = optimize(
            detector,
            (batch_size, self.model_config.num_channels, side, side),
            dtype,
            compile_backend if compile else None,
            inplace,
        )
        if inplace:
            self.model.model = None
        self.model.inference_model = OptimizedModel(
            network, side, batch_size if compile else None, dtype
        )

    def inference(
        self,
        compile: bool = True,
        batch_size: int = 1,
        dtype: torch.dtype | str = torch.float32,
        *,
        inplace: bool = False,
        compile_backend: str = 'torchscript',
    ) -> None:
        """Upstream's newer name of :meth:`optimize_for_inference`.

        Args:
            compile: See there, as all others.
            batch_size: Images per call.
            dtype: A floating-point dtype or its name.
            inplace: Change the model itself.
            compile_backend: ``'torchscript'`` or ``'inductor'``.

        Raises:
            TypeError: See :meth:`optimize_for_inference`, as all others.
            InputError: For impossible values.
            RuntimeError: If the model was optimised in place before.
        """
        self.optimize_for_inference(
            compile,
            batch_size,
            dtype,
            inplace=inplace,
            compile_backend=compile_backend,
        )

    @property
    def is_optimized_inplace(self) -> bool:
        """Whether ``inference(inplace=True)`` has used the model up."""
        return self.model.model is None

    def remove_optimized_model(self) -> None:
        """Forget the copy of :meth:`optimize_for_inference`, if any.

        After ``inplace=True`` there is nothing else to go back to: a
        warning, and the optimised model stays.
        """
        if self.is_optimized_inplace:
            warnings.warn(
                'The model was optimised in place, so that there is no other '
                'one to go back to; make a new one from its weights.',
                UserWarning,
                stacklevel=2,
            )
            return
        self.model.inference_model = None


def _warn_of_ignored(names: Mapping[str, Any]) -> None:
    known = [*inspect.signature(Predictor.predict).parameters][1:-1]
    for name in names:
        close = difflib.get_close_matches(name, known, 1)
        hint = f'; did you mean {close[0]}?' if close else ''
        warnings.warn(
            f'predict() has no argument {name!r} and ignores it{hint}',
            UserWarning,
            stacklevel=3,
        )
