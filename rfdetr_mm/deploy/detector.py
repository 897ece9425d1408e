"""The RF-DETR detector as a graph: images to detections."""

import shlex
import sys
from pathlib import Path
from typing import Any

import torch
from mmdeploy.core import MODULE_REWRITER
from mmdeploy.utils import get_codebase_config
from mmengine.config import Config
from torch import Tensor, nn

from rfdetr_mm.models.detectors import RFDETR
from rfdetr_mm.version import __version__
from rfdetr_runtime.facts import KEYPOINTS

from .fixed_size import FixedSizeModule


@MODULE_REWRITER.register_rewrite_module(
    'rfdetr_mm.models.detectors.rfdetr.RFDETR'
)
class DetectorGraph(FixedSizeModule):
    """:class:`RFDETR` for one image size: normalised images to detections.

    ``codebase_config.backbone_only=True`` ends it at the neck's maps.

    Args:
        module: The detector, whose parts were replaced before.
        deploy_cfg: The deploy config.
    """

    def __init__(self, module: RFDETR, deploy_cfg: Config) -> None:
        super().__init__()
        self.backbone_only = get_codebase_config(deploy_cfg).get(
            'backbone_only', False
        )
        self.backbone = module.backbone
        self.neck = module.neck
        self.facts = facts_of_model(module)
        notes = get_codebase_config(deploy_cfg).get('notes')
        if notes is not None:
            self.facts['rfdetr_notes'] = notes
        self.layout = 'features'
        if not self.backbone_only:
            self.bbox_head = module.bbox_head
            self.layout = module.bbox_head.layout
            self.facts.update(facts_of_head(module.bbox_head))
            self.bbox_head.use_class_names(self.facts.get('class_names', ()))

    def forward(
        self, inputs: Tensor, data_samples: list | None = None, mode: str = ''
    ) -> tuple[Tensor, ...]:
        """Run the graph.

        Args:
            inputs: Normalised images, shape (bs, 3, h_px, w_px).
            data_samples: Not used; part of mmdeploy's interface.
            mode: Not used; part of mmdeploy's interface.

        Returns:
            See :meth:`HeadGraph.predict`; the neck's maps for a backbone.
        """
        self.remember_sizes(inputs)
        feats = self.neck(self.backbone(inputs))
        if self.backbone_only:
            return tuple(feats)
        return self.bbox_head.predict(feats, img_size=self.sizes[0])


def facts_of_model(model: nn.Module) -> dict[str, Any]:
    """What the metadata of an exported file says about a model.

    Args:
        model: A detector; names of its classes are in ``dataset_meta``, how
            its images are resized in ``resize_kernel``, what its weights were
            in ``weights_md5``.

    Returns:
        JSON values by name.
    """
    preprocessor = model.data_preprocessor
    facts = dict(
        rfdetr_mm_version=__version__,
        rfdetr_layout='1.11.2',
        torch_version=str(torch.__version__),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    )
    if hasattr(model, 'weights_md5'):
        facts['weights_md5'] = model.weights_md5
    if hasattr(model, 'dataset_meta'):
        facts['class_names'] = list(model.dataset_meta['classes'])
    if getattr(preprocessor, '_enable_normalize', False):
        # Of channels in this order, on values from 0 to 255
        facts['mean'] = preprocessor.mean.flatten().tolist()
        facts['std'] = preprocessor.std.flatten().tolist()
    if hasattr(model, 'resize_kernel'):
        facts['resize_kernel'] = model.resize_kernel
    rgb = getattr(preprocessor, '_channel_conversion', False)
    facts['channel_order'] = 'RGB' if rgb else 'BGR'
    return facts


def facts_of_head(head: nn.Module) -> dict[str, Any]:
    """What the metadata of an exported file says about its outputs.

    Args:
        head: The graph of a head.

    Returns:
        JSON values by name.
    """
    facts = dict(task=head.task, max_per_img=head.max_per_img)
    if head.task == KEYPOINTS:
        facts.update(
            num_keypoints=list(head.num_keypoints),
            trace_alpha=head.trace_alpha,
        )
    return facts
