"""A built model, what belongs to it, and its way from images to results."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import Tensor, nn

from rfdetr_mm.errors import InputError

from .detections import detections_of_image
from .images import LoadedImage, make_batch
from .in_process import RawDetector
from .model_config import ModelConfig, positive_int
from .weights import build_detector


@dataclass
class OptimizedModel:
    """A copy of the network for one kind of input.

    Attributes:
        network: Images to raw outputs, see
            :class:`~rfdetr_mm.apis.in_process.RawDetector`.
        resolution: Side of the square images in pixels.
        batch_size: Images; None if any number will do.
        dtype: The dtype of its matrix products.
    """

    network: nn.Module
    resolution: int
    batch_size: int | None
    dtype: torch.dtype


@dataclass
class ModelContext:
    """A model and what belongs to it.

    Attributes:
        model: The mmdet detector, in evaluation mode; None after
            ``inference(inplace=True)``.
        device: The device that the model is on.
        resolution: Side in pixels of the square that images are resized to.
        class_names: The names of its classes; number i is the label i.
        args: The configuration that it was built from.
        cfg: The mmdet config of this model; its data set is left open.
        inference_model: The optimised copy, None without one.
    """

    model: nn.Module | None
    device: torch.device
    resolution: int
    class_names: list[str]
    args: ModelConfig
    cfg: Config
    inference_model: OptimizedModel | None = field(default=None, repr=False)

    @torch.no_grad()
    def detect(
        self,
        images: Sequence[LoadedImage],
        input_hw: tuple[int, int],
        threshold: float,
        sizes_hw: Sequence[tuple[int, int]] | None = None,
    ) -> list[InstanceData]:
        """Detect objects in a batch.

        Args:
            images: The images, which may have different sizes.
            input_hw: (height, width) in pixels that they are resized to.
            threshold: Only detections with a higher score are kept.
            sizes_hw: (height, width) in pixels of each image that results
                refer to; its own by default.

        Returns:
            The detections of each image, see
            :func:`.detections.detections_of_image`.
        """
        mean, std = (
            torch.tensor(self.cfg.model.data_preprocessor[name]).view(-1, 1, 1)
            for name in ('mean', 'std')
        )
        batch = make_batch(
            images,
            input_hw,
            mean.to(self.device) / 255,
            std.to(self.device) / 255,
        )
        if self.inference_model is None:
            network = RawDetector(self.model.eval())
        else:
            network = self.inference_model.network
        outputs = network(batch)
        if sizes_hw is None:
            sizes_hw = [image.size_hw for image in images]
        return self.postprocess(outputs, input_hw, sizes_hw, threshold)

    def postprocess(
        self,
        outputs: Sequence[Tensor],
        input_hw: tuple[int, int],
        sizes_hw: Sequence[tuple[int, int]],
        threshold: float,
    ) -> list[InstanceData]:
        """Turn the network's outputs into detections.

        Args:
            outputs: What :class:`~rfdetr_mm.apis.in_process.RawDetector`
                has returned for the batch.
            input_hw: (height, width) in pixels of the network's input.
            sizes_hw: (height, width) of each image in pixels.
            threshold: Only detections with a higher score are kept.

        Returns:
            The detections of each image, see
            :func:`.detections.detections_of_image`.
        """
        return [
            detections_of_image(
                [output[i] for output in outputs],
                input_hw,
                size_hw,
                self.args.num_select,
                threshold,
                self.args.num_keypoints_per_class,
                self.args.postprocess_trace_alpha,
            )
            for i, size_hw in enumerate(sizes_hw)
        ]

    def reinitialize_detection_head(self, num_classes: int) -> None:
        """Give the model another number of classes, to be trained.

        The rows of the classes are repeated or cut, as when a training
        starts from weights with other classes.

        Args:
            num_classes: Classes, without background.

        Raises:
            InputError: If it is not a positive integer.
            RuntimeError: If the model is gone, after
                ``inference(inplace=True)``.

        Source: rfdetr 1.11.2, inference.py, ModelContext (interface).
        """
        number = positive_int('num_classes', num_classes)
        weights = self.require_model('give it other classes').state_dict()
        self.args.num_classes = number
        if self.args.num_keypoints_per_class is not None:
            counts = self.args.num_keypoints_per_class
            self.args.num_keypoints_per_class = [
                counts[i % len(counts)] for i in range(number)
            ]
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # that the rows must be trained
            self.model, self.class_names = build_detector(
                self.cfg, self.args, dict(state_dict=weights), 'the model'
            )
        self.inference_model = None

    def require_model(self, purpose: str) -> nn.Module:
        """Give the detector.

        Args:
            purpose: What it is needed for, for the message.

        Raises:
            RuntimeError: If ``inference(inplace=True)`` has used it up.
        """
        if self.model is None:
            raise RuntimeError(
                f'Cannot {purpose}: inference(inplace=True) has used the '
                'model up. Make a new one from its weights, or use '
                'inference() without inplace.'
            )
        return self.model

    def check_optimized(
        self, input_hw: tuple[int, int], num_images: int
    ) -> None:
        """Refuse what the optimised copy, if there is one, cannot take.

        Args:
            input_hw: (height, width) in pixels of the network's input.
            num_images: Images at once.

        Raises:
            InputError: If it was made for others.
        """
        optimized = self.inference_model
        if optimized is None:
            return
        way_out = (
            ' Call remove_optimized_model(), or optimize_for_inference() '
            'again for this case.'
        )
        side = optimized.resolution
        if input_hw != (side, side):
            raise InputError(
                f'Resolution mismatch: the model was optimised for {side} x '
                f'{side} px, got {input_hw[0]} x {input_hw[1]} px.' + way_out
            )
        if optimized.batch_size not in (None, num_images):
            raise InputError(
                'Batch size mismatch: the model was optimised for '
                f'{optimized.batch_size} images at once, got {num_images}.'
                + way_out
            )
