"""The one place that builds rfdetr's model, for all comparisons.

It imports nothing of ``rfdetr_mm`` by itself, so that rfdetr can run alone in
a process. Where no weights are given they are random and off any symmetry, as
zeros would hide differences. Needs ``pip install "rfdetr[train]==1.11.2"``.
"""

import copy
import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ['HF_HUB_OFFLINE'] = '1'

import clone  # noqa: E402, F401  first: this clone's package and tools
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from rfdetr_mm_light.sizes import (  # noqa: E402
    DETECTION,
    SEGMENTATION,
    SIZES,
)

if TYPE_CHECKING:
    from mmengine.config import Config

KEYPOINT_VARIANT = 'keypoint-preview'
MASK_VARIANTS = tuple(
    size.short_name for size in SIZES.values() if size.task == SEGMENTATION
)
CLASS_NAMES = {size.short_name: size.class_name for size in SIZES.values()}
CLASS_NAMES[KEYPOINT_VARIANT] = 'RFDETRKeypointPreview'
# For patches of 14 px rfdetr downloads weights; it has none of 20 px.
DETECTION_VARIANTS = tuple(
    size.word
    for size in SIZES.values()
    if size.task == DETECTION and size.patch_size == 16
)
VARIANTS = (*DETECTION_VARIANTS, *MASK_VARIANTS, KEYPOINT_VARIANT)
NUM_CLASSES = 80
NUM_KEYPOINTS = 17  # of the one class of KEYPOINT_VARIANT
PERTURBATION = 0.02
DEAD_BIAS = -20.0  # of the spare class row


def check_installed() -> None:
    """Stop with one line if rfdetr cannot be compared with here."""
    from run_config import stop

    wanted = ('rfdetr', 'pytorch_lightning')
    missing = [n for n in wanted if importlib.util.find_spec(n) is None]
    if missing:
        stop(
            f'{" and ".join(missing)} cannot be imported, and rfdetr is what '
            'is compared with: pip install "rfdetr[train]==1.11.2"'
        )


@dataclass(frozen=True)
class Dimensions:
    """What a comparison may change about a variant; None leaves it as it is.

    Args:
        size: Side of the images in pixels; windows of patches must fill it.
        classes: How many classes there are.
        queries: Queries of a group. Where a feature map has fewer cells,
            rfdetr's groups lose their alignment, and this package's do not.
        objects: How many objects every image has.
    """

    size: int | None = None
    classes: int | None = None
    queries: int | None = None
    objects: int | None = None

    def fields(self) -> dict[str, int]:
        """Fields of rfdetr's ModelConfig; its position table follows."""
        found = dict(
            resolution=self.size,
            num_classes=self.classes,
            num_queries=self.queries,
            num_select=self.queries,
        )
        return {k: value for k, value in found.items() if value is not None}


UNCHANGED = Dimensions()


def model_config(variant: str, **options: Any) -> Any:
    """ModelConfig of rfdetr for a variant.

    Args:
        variant: One of ``VARIANTS``.
        **options: Its fields; the variant's classes and the CPU unless
            given.
    """
    import rfdetr.config

    kind = getattr(rfdetr.config, f'{CLASS_NAMES[variant]}Config')
    options = dict(num_classes=num_classes(variant), device='cpu') | options
    return kind(pretrain_weights=None, **options)


def num_classes(variant: str) -> int:
    """Classes that a variant is compared with."""
    return 1 if variant == KEYPOINT_VARIANT else NUM_CLASSES


def build_module(
    config: Any,
    weights: Path | None = None,
    seed: int = 0,
    **options: Any,
) -> Any:
    """Lightning module of rfdetr: network, criterion and post-processing.

    Args:
        config: See :func:`model_config`.
        weights: File in rfdetr's layout; None for random weights, with a dead
            spare class row (weight 0, bias -20).
        seed: The seed of the random weights.
        **options: Fields of its TrainConfig.

    Returns:
        The module, on the device of the config.
    """
    from rfdetr.config import (
        KeypointTrainConfig,
        SegmentationTrainConfig,
        TrainConfig,
    )
    from rfdetr.training.module_model import RFDETRModelModule

    torch.manual_seed(seed)
    options = dict(dataset_dir='.', multi_scale=False) | options
    kind = TrainConfig
    if config.num_keypoints_per_class:
        kind = KeypointTrainConfig
    elif config.segmentation_head:
        kind = SegmentationTrainConfig
    module = RFDETRModelModule(config, kind(**options))
    # rfdetr asks for TF32 on import.
    torch.set_float32_matmul_precision('highest')
    model = getattr(module.model, '_orig_mod', module.model)
    if weights is None:
        _perturb(model)
    else:
        content = torch.load(weights, weights_only=True)
        model.load_state_dict(content['model'])
    return module.to(config.device)


def _perturb(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * PERTURBATION)
        for layer in (
            model.class_embed,
            *model.transformer.enc_out_class_embed,
        ):
            layer.weight[-1] = 0.0
            layer.bias[-1] = DEAD_BIAS


def training_batch(
    images: Tensor,
    objects: Sequence[tuple[Tensor, ...]],
    sizes: Sequence[tuple[int, int]] | None = None,
    third: str = 'keypoints',
) -> tuple[Any, list[dict[str, Tensor]]]:
    """Images and objects as rfdetr's model and criterion take them.

    Args:
        images: Normalised, shape (bs, 3, h, w).
        objects: Each image has boxes of shape (num_objects, 4), normalised
            (cx, cy, w, h), labels of shape (num_objects,), and maybe a third
            tensor.
        sizes: (h, w) of each original image in pixels; (1, 1) if None.
        third: What a third tensor is: 'keypoints' of shape (num_objects,
            num_keypoints, 3), normalised (x, y) and COCO's visibility, or
            'masks', bool, of shape (num_objects, h, w).

    Returns:
        The nested tensor and one target per image.
    """
    from rfdetr.utilities.tensors import nested_tensor_from_tensor_list

    targets = [
        dict(
            boxes=boxes,
            labels=labels,
            orig_size=torch.tensor(size, device=images.device),
            **({third: more[0]} if more else {}),
        )
        for (boxes, labels, *more), size in zip(
            objects, sizes or [(1, 1)] * len(objects)
        )
    ]
    return nested_tensor_from_tensor_list(list(images)), targets


def export_onnx(
    model: nn.Module, config: Any, size: tuple[int, int], folder: Path
) -> Path:
    """Export a network by rfdetr's own exporter.

    Args:
        model: rfdetr's network.
        config: Its ModelConfig.
        size: (h, w) of the images in pixels.
        folder: Folder for the file.

    Returns:
        The file.
    """
    from rfdetr.export._onnx.exporter import OnnxConfig, OnnxExporter
    from rfdetr.export.prepare import prepare_export_graph

    graph = prepare_export_graph(
        copy.deepcopy(model).eval(), config, shape=size, device='cpu'
    )
    folder.mkdir(parents=True, exist_ok=True)
    options = OnnxConfig(
        output_dir=folder, output_name='rfdetr', verbose=False
    )
    return Path(OnnxExporter(options)(graph))


def export_like(
    cfg: 'Config',
    weights: Mapping[str, Tensor],
    size: tuple[int, int],
    folder: Path,
) -> Path:
    """Let rfdetr export a model of ours.

    Args:
        cfg: Our config of the model.
        weights: Its state dict, under rfdetr's names.
        size: (h, w) of the images in pixels.
        folder: Folder for the file.

    Returns:
        The file.
    """
    from rfdetr.config import ModelConfig
    from rfdetr.models import build_model_from_config

    from rfdetr_mm.apis.conversion import upstream_architecture

    head = cfg.model.bbox_head
    config = ModelConfig(
        **upstream_architecture(cfg),
        num_classes=len(weights['class_embed.bias']) - 1,
        num_queries=head.num_queries,
        group_detr=head.num_groups,
        segmentation_head=head.type == 'RFDETRInsHead',
        pretrain_weights='/nonexistent/x.pth',  # only says: do not download
        device='cpu',
    )
    model = build_model_from_config(config)
    model.load_state_dict(weights)
    return export_onnx(model, config, size, folder)
