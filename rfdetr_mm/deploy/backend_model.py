"""An exported RF-DETR behind the interface of an mmdet detector."""

import json
from collections.abc import Sequence
from typing import Any

import torch
from mmdeploy.codebase.base import BaseBackendModel
from mmdeploy.utils import get_backend, get_codebase_config
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import Tensor

from rfdetr_mm.checkpoints.class_rows import choose_our_rows
from rfdetr_mm.errors import InputError
from rfdetr_mm.models.dense_heads.rfdetr_pose_head import TRACE_ALPHA
from rfdetr_mm.models.layers.full_size_masks import resize_masks
from rfdetr_mm.models.layers.keypoint_schema import KeypointSchema
from rfdetr_mm.models.layers.keypoint_scores import add_keypoints
from rfdetr_runtime.decoding import check_finite, read_boxes
from rfdetr_runtime.facts import FileFacts
from rfdetr_runtime.metadata import read_metadata


class DetectionBackendModel(BaseBackendModel):
    """Runs exported files and finishes what the graph leaves open.

    Boxes, scores and labels are read by :mod:`rfdetr_runtime.decoding`; masks
    are resized bilinearly to the original image and cut at 0, as
    :class:`RFDETRInsHead` does, which knows padded images as well; keypoints
    become pixels, as :class:`RFDETRPoseHead` has them.

    Args:
        model_files: The converted files.
        device: Such as 'cpu' or 'cuda:0'.
        model_cfg: Config of the model.
        deploy_cfg: The deploy config.
        data_preprocessor: Config of the model's.

    Raises:
        InputError: If the files are of a model with other classes.
    """

    def __init__(
        self,
        model_files: Sequence[str],
        device: str,
        model_cfg: Config,
        deploy_cfg: Config,
        data_preprocessor: dict,
    ) -> None:
        super().__init__(
            deploy_cfg=deploy_cfg, data_preprocessor=data_preprocessor
        )
        codebase = get_codebase_config(deploy_cfg)
        if codebase.get('backbone_only'):
            raise InputError(
                'an exported backbone gives maps, not detections: it cannot '
                'be evaluated or painted'
            )
        self.facts = FileFacts(
            layout=codebase.get('output_layout', 'end2end'),
            max_per_img=model_cfg.model.test_cfg.max_per_img,
        )
        self.file, self.device = str(model_files[0]), device
        self.num_classes = model_cfg.model.bbox_head.num_classes
        counts = model_cfg.model.bbox_head.get('num_keypoints')
        self.schema = counts and KeypointSchema(tuple(counts))
        self.trace_alpha = model_cfg.model.test_cfg.get(
            'trace_alpha', TRACE_ALPHA
        )
        metadata = read_metadata(model_files[0])
        names = json.loads(metadata.get('class_names', 'null'))
        if names is not None and len(names) != self.num_classes:
            raise InputError(
                f'{model_files[0]} is of a model with {len(names)} classes, '
                f'the config has num_classes={self.num_classes}: use the '
                'config that it was exported with'
            )
        self.rows = None
        if self.facts.layout == 'raw':
            self.rows, self.num_rows, _ = choose_our_rows(
                self.num_classes, names
            )
        self.wrapper = self._build_wrapper(
            backend=get_backend(deploy_cfg),
            backend_files=model_files,
            device=device,
            input_names=[self.input_name],
            output_names=self.output_names,
            deploy_cfg=deploy_cfg,
        )

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[DetDataSample],
        mode: str = 'predict',
        **kwargs: Any,
    ) -> list[DetDataSample]:
        """Detect objects.

        Args:
            inputs: Normalised images, shape (bs, 3, h_px, w_px).
            data_samples: Samples with ``img_shape``, ``ori_shape`` and
                ``scale_factor``; get ``pred_instances``.
            mode: Only 'predict'.
            **kwargs: Not used; part of mmdeploy's interface.

        Returns:
            The data samples.

        Raises:
            InputError: If outputs are not finite, or of other classes.
        """
        outputs = [x.cpu() for x in self.predict(inputs.contiguous())]
        self._check_rows(outputs[1])
        for i, sample in enumerate(data_samples):
            boxes, logits, *others = (output[i] for output in outputs)
            arrays = [boxes.numpy(), logits.numpy()]
            check_finite(self.file, arrays)
            bboxes, scores, labels, chosen = map(
                torch.from_numpy,
                read_boxes(
                    arrays,
                    self.facts,
                    self.rows,
                    tuple(sample.img_shape[:2]),
                    sample.scale_factor[:2],
                ),
            )
            instances = InstanceData(
                scores=scores, labels=labels, bboxes=bboxes
            )
            if self.schema is not None:
                self._add_keypoints(instances, others.pop()[chosen], sample)
            if others:
                instances.masks = resize_masks(
                    others[0][chosen],
                    sample.metainfo,
                    tuple(sample.ori_shape[:2]),
                )
            sample.pred_instances = instances.to(self.device)
        return data_samples

    def _add_keypoints(
        self,
        instances: InstanceData,
        keypoints: Tensor,
        sample: DetDataSample,
    ) -> None:
        height, width = sample.img_shape[:2]
        scale_w, scale_h = sample.scale_factor[:2]
        add_keypoints(
            instances,
            keypoints,
            self.schema.active(),
            (width / scale_w, height / scale_h),
            self.trace_alpha,
        )

    def predict(self, inputs: Tensor) -> list[Tensor]:
        """Outputs of the graph, in the order of ``output_names``."""
        outputs = self.wrapper({self.input_name: inputs})
        return self.wrapper.output_to_list(outputs)

    def _check_rows(self, logits: Tensor) -> None:
        """Make sure that raw logits are those of the model's classes."""
        found = logits.shape[-1]
        if self.rows is not None and found != self.num_rows:
            raise InputError(
                f'the exported model has {found} class rows, '
                f'{self.num_classes} classes make {self.num_rows}: use the '
                'config that it was exported with'
            )
