"""A detector of two blocks and one decoder layer, and batches for it."""

from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData

CONFIG = (
    Path(__file__).parents[1] / 'configs' / 'rfdetr' / 'rfdetr_nano_coco.py'
)
NUM_CLASSES = 3


def small_config(options=()):
    """Nano's config with a small model.

    Args:
        options: Entries of the model's config, as of --cfg-options.
    """
    config = Config.fromfile(CONFIG)
    model = config.model
    model.backbone.update(arch='tiny', img_size=64, out_indices=(0, 1))
    model.backbone.global_attn_indices = (1,)
    model.neck.update(
        in_channels=[192] * 2, out_channels=32, num_bottlenecks=1
    )
    model.bbox_head.update(
        num_classes=NUM_CLASSES, num_queries=6, num_groups=2, embed_dims=32
    )
    model.bbox_head.decoder.update(num_layers=1, feedforward_channels=16)
    config.merge_from_dict({f'model.{k}': v for k, v in dict(options).items()})
    return config


def build(options=(), optim=None):
    """The model, in training mode, and its optimizer wrapper.

    Args:
        options: Entries of the model's config, as of --cfg-options.
        optim: Config of the optimizer wrapper; the config's if None.
    """
    config = small_config(options)
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    with torch.no_grad():
        for param in model.parameters():
            param.add_(0.02 * torch.randn_like(param))
    wrapper = build_optim_wrapper(model, optim or config.optim_wrapper)
    return model.train(), wrapper


def batch(seed, counts, hw=(64, 96)):
    """Random images of a size (h, w) with that many objects in each."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([hw[1], hw[0]])
    images, samples = [], []
    for count in counts:
        images.append(
            torch.randint(
                256, (3, *hw), dtype=torch.uint8, generator=generator
            )
        )
        sample = DetDataSample(
            metainfo=dict(img_shape=hw, ori_shape=hw, scale_factor=(1.0, 1.0))
        )
        corners = torch.rand(count, 2, generator=generator) * size * 0.6
        extents = torch.rand(count, 2, generator=generator) * size * 0.3 + 3
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corners, corners + extents], 1),
            labels=torch.randint(NUM_CLASSES, (count,), generator=generator),
        )
        samples.append(sample)
    return dict(inputs=images, data_samples=samples)
