"""mmdeploy's detection task, for models with an :class:`RFDETRHead`."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

from mmdeploy.codebase.mmdet.deploy.object_detection import (
    MMDET_TASK,
    ObjectDetection,
)
from mmdeploy.utils import get_codebase_config, get_input_shape, get_ir_config
from mmengine.config import Config
from mmengine.runner.checkpoint import load_checkpoint
from torch import nn
from torch.utils.data import Dataset

from rfdetr_mm.checkpoints import weights_md5
from rfdetr_mm.checkpoints.class_rows import default_class_names
from rfdetr_mm.datasets.transforms.resize import RFDETRResize
from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.config_facts import (
    check_size_of_model,
    check_sizes_agree,
    set_pipeline_size,
)
from rfdetr_mm.sizes.data_sets import (
    class_names_of_split,
    innermost_datasets,
    named_classes,
)
from rfdetr_runtime.resizing import PREDICT, VALIDATION

from .backend_model import DetectionBackendModel

# Head: the folder of its deploy configs, and what its graph gives besides.
HEADS = {
    'RFDETRHead': ('detection', None),
    'RFDETRInsHead': ('instance-seg', 'masks'),
    'RFDETRPoseHead': ('pose', 'keypoints'),
}


@MMDET_TASK.register_module('ObjectDetection', force=True)
class RFDETRObjectDetection(ObjectDetection):
    """mmdeploy's ``ObjectDetection`` that knows RF-DETR.

    Images get the exported size by our resizing transform, too; weights of
    other classes are refused; masks are read as RF-DETR's. Other models are
    left to mmdeploy.

    Args:
        model_cfg: Config of the model.
        deploy_cfg: The deploy config.
        device: Such as 'cpu' or 'cuda:0'.

    Raises:
        InputError: If the two configs do not fit each other.
    """

    def __init__(
        self, model_cfg: Config, deploy_cfg: Config, device: str
    ) -> None:
        super().__init__(model_cfg, deploy_cfg, device)
        head = model_cfg.model.get('bbox_head') or {}
        self.is_rfdetr = head.get('type') in HEADS
        if not self.is_rfdetr:
            return
        check_task(model_cfg, deploy_cfg)
        self.input_shape = get_input_shape(deploy_cfg)
        if self.input_shape is None:
            check_sizes_agree(model_cfg)
        else:
            size_hw = self.input_shape[::-1]
            check_size_of_model(
                model_cfg, 'input_shape of the deploy config', size_hw
            )
            self.model_cfg = copy.deepcopy(model_cfg)
            if pipeline := self.model_cfg.get('test_pipeline'):
                set_pipeline_size(pipeline, size_hw, stretch=True)

    def get_preprocess(self, *args: Any, **kwargs: Any) -> list[dict]:
        """Describe the pipeline in transforms that mmdeploy's SDK has.

        Args:
            *args: As mmdeploy gives them.
            **kwargs: As mmdeploy gives them.

        Returns:
            Its transforms; of ``RFDETRResize`` the SDK's bilinear ``Resize``
            to (width, height) in pixels.
        """
        transforms = super().get_preprocess(*args, **kwargs)
        if self.is_rfdetr:
            transforms = [_for_sdk(transform) for transform in transforms]
        return transforms

    def build_pytorch_model(
        self,
        model_checkpoint: str | None = None,
        cfg_options: dict | None = None,
        **kwargs: Any,
    ) -> nn.Module:
        """Build the model, load weights, note the names of its classes."""
        if not self.is_rfdetr:
            return super().build_pytorch_model(
                model_checkpoint, cfg_options, **kwargs
            )
        model = super().build_pytorch_model(None, cfg_options, **kwargs)
        meta = {}
        if model_checkpoint is not None:
            checkpoint = load_checkpoint(
                model, model_checkpoint, map_location=self.device
            )
            meta = checkpoint.get('meta', {})
        model.weights_md5 = weights_md5(model.state_dict())
        if hasattr(model, 'merge_adapters'):
            model.merge_adapters()
        model.dataset_meta = dict(
            classes=class_names(self.model_cfg, meta.get('dataset_meta', {}))
        )
        kernel = resize_kernel(self.model_cfg)
        if kernel is not None:
            model.resize_kernel = kernel
        return model

    def build_backend_model(
        self,
        model_files: Sequence[str] | None = None,
        data_preprocessor_updater: Callable | None = None,
        **kwargs: Any,
    ) -> nn.Module:
        """Wrap exported files as a model.

        Raises:
            InputError: If the files are of a model with other classes.
        """
        if not self.is_rfdetr:
            return super().build_backend_model(
                model_files, data_preprocessor_updater, **kwargs
            )
        preprocessor = copy.deepcopy(self.model_cfg.model.data_preprocessor)
        if data_preprocessor_updater is not None:
            preprocessor = data_preprocessor_updater(preprocessor)
        model = DetectionBackendModel(
            model_files,
            self.device,
            self.model_cfg,
            self.deploy_cfg,
            preprocessor,
        )
        return model.to(self.device).eval()

    def build_dataset(
        self, dataset_cfg: Config, is_sort_dataset: bool = False, **kwargs: Any
    ) -> Dataset:
        """Build a data set whose images get the exported size."""
        if self.is_rfdetr and self.input_shape is not None:
            dataset_cfg = copy.deepcopy(dataset_cfg)
            for inner in innermost_datasets(dataset_cfg):
                set_pipeline_size(
                    inner['pipeline'], self.input_shape[::-1], stretch=True
                )
        return super().build_dataset(dataset_cfg, is_sort_dataset, **kwargs)


def check_task(model_cfg: Config, deploy_cfg: Config) -> None:
    """Refuse a deploy config of another task.

    Raises:
        InputError: With both and the way out.
    """
    outputs = list(get_ir_config(deploy_cfg).get('output_names', []))
    if get_codebase_config(deploy_cfg).get('backbone_only'):
        return
    folder, wanted = HEADS[model_cfg.model.bbox_head.type]
    given = [name for name in ('masks', 'keypoints') if name in outputs]
    if given != [wanted][: wanted is not None]:
        raise InputError(
            f'the deploy config gives {outputs}, the model has '
            f'{wanted or "no masks"}: use a deploy config of '
            f'configs/deploy/{folder}'
        )


def class_names(
    model_cfg: Config, dataset_meta: dict[str, Any]
) -> tuple[str, ...]:
    """Names of the classes, by the checkpoint, the config or their count."""
    count = model_cfg.model.bbox_head.num_classes
    for names in (
        named_classes(dataset_meta),
        class_names_of_split(model_cfg, 'test'),
    ):
        if len(names) == count:
            return names
    return default_class_names(count)


def resize_kernel(model_cfg: Config) -> str | None:
    """How the test pipeline of a model resizes images.

    Args:
        model_cfg: Config of the model.

    Returns:
        A kernel that exported files know; None for a resizing transform that
        is not RF-DETR's.
    """
    for step in _test_steps(model_cfg):
        kernel = step.get('kernel', VALIDATION)
        # That of training has the pixels of that of the validation.
        return PREDICT if kernel == PREDICT else VALIDATION
    return None


def set_resize_kernel(model_cfg: Config, kernel: str) -> None:
    """Let the test pipeline of a model resize in another way, in place.

    Args:
        model_cfg: Config of the model.
        kernel: A kernel of ``RFDETRResize``.
    """
    for step in _test_steps(model_cfg):
        step['kernel'] = kernel


def _test_steps(model_cfg: Config) -> list[dict]:
    """RF-DETR's resizing transforms of the test pipelines."""
    dataset = (model_cfg.get('test_dataloader') or {}).get('dataset')
    inner = innermost_datasets(dataset) if dataset else []
    pipelines = [part.get('pipeline') for part in inner]
    pipelines.append(model_cfg.get('test_pipeline'))
    return [
        step
        for pipeline in pipelines
        for step in pipeline or ()
        if step['type'] in ('RFDETRResize', RFDETRResize)
    ]


def _for_sdk(transform: dict[str, Any]) -> dict[str, Any]:
    """A transform under a name that mmdeploy's SDK knows."""
    if transform['type'] == 'LoadCheckedImage':
        return dict(type='LoadImageFromFile')
    if transform['type'] != 'RFDETRResize':
        return transform
    return dict(
        type='Resize',
        size=list(transform['scale']),
        keep_ratio=bool(transform.get('keep_ratio', False)),
        interpolation='bilinear',
    )
