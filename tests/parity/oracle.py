"""rfdetr 1.11.2 beside our model, with the same random weights.

rfdetr is imported by tests only. Everything is built offline (the spec's
recipe), perturbed, and made comparable: upstream's spare class row is dead
(weight 0, bias -20), as our converter leaves it on the way back.
"""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import Tensor, nn

from rfdetr_mm.checkpoints import upstream_to_mmdet

os.environ['HF_HUB_OFFLINE'] = '1'

CONFIGS = Path(__file__).parents[2] / 'configs'
NUM_CLASSES = 7
NUM_QUERIES = 16
DEAD_BIAS = -20.0

# XL and 2XL are built from their architecture numbers, not from the
# platform-licensed package.
XL_FAMILY = dict(
    encoder='dinov2_windowed_base',
    hidden_dim=512,
    patch_size=20,
    dec_layers=5,
    sa_nheads=16,
    ca_nheads=32,
    dec_n_points=4,
    projector_scale=['P4'],
    out_feature_indexes=[3, 6, 9, 12],
)


@dataclass(frozen=True)
class Variant:
    """One model size and the smallest legal, non-square test input."""

    config: str
    upstream: str
    input_hw: tuple[int, int]
    overrides: tuple = ()


_S16 = (64, 96)
_B14 = (56, 112)
VARIANTS = {
    'nano': Variant('nano', 'RFDETRNanoConfig', _S16),
    'small': Variant('small', 'RFDETRSmallConfig', _S16),
    'medium': Variant('medium', 'RFDETRMediumConfig', _S16),
    'large': Variant('large', 'RFDETRLargeConfig', _S16),
    'base': Variant('base', 'RFDETRBaseConfig', _B14),
    'large-deprecated': Variant(
        'large-deprecated', 'RFDETRLargeDeprecatedConfig', _B14
    ),
    'xlarge': Variant(
        'xlarge',
        'ModelConfig',
        (80, 100),
        (
            ('num_windows', 1),
            ('resolution', 700),
            ('positional_encoding_size', 35),
        ),
    ),
    '2xlarge': Variant(
        '2xlarge',
        'ModelConfig',
        (80, 120),
        (
            ('num_windows', 2),
            ('resolution', 880),
            ('positional_encoding_size', 44),
        ),
    ),
}


_SEG = (48, 96)
SEG_VARIANTS = {
    'seg-nano': Variant('nano', 'RFDETRSegNanoConfig', (48, 60)),
    'seg-small': Variant('small', 'RFDETRSegSmallConfig', _SEG),
    'seg-medium': Variant('medium', 'RFDETRSegMediumConfig', _SEG),
    'seg-large': Variant('large', 'RFDETRSegLargeConfig', _SEG),
    'seg-xlarge': Variant('xlarge', 'RFDETRSegXLargeConfig', _SEG),
    'seg-2xlarge': Variant('2xlarge', 'RFDETRSeg2XLargeConfig', _SEG),
    'seg-preview': Variant('preview', 'RFDETRSegPreviewConfig', _SEG),
}
# Classes of other numbers of keypoints, and one without any.
NUM_KEYPOINTS = (3, 0, 5, 2, 0, 0, 0)
POSE_VARIANTS = {
    'pose-preview': Variant(
        'preview',
        'RFDETRKeypointPreviewConfig',
        _SEG,
        (('num_keypoints_per_class', list(NUM_KEYPOINTS)),),
    )
}
ALL_VARIANTS = {**VARIANTS, **SEG_VARIANTS, **POSE_VARIANTS}


@dataclass
class Pair:
    """Upstream's model and ours, holding the same weights."""

    upstream: nn.Module
    ours: nn.Module
    upstream_config: object
    input_hw: tuple[int, int]

    def train(self, mode: bool) -> 'Pair':
        self.upstream.train(mode)
        self.ours.train(mode)
        return self

    def images(self, seed: int = 0, bs: int = 2) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(bs, 3, *self.input_hw, generator=generator)


def upstream_config(
    variant: str,
    num_classes: int = NUM_CLASSES,
    num_queries: int = NUM_QUERIES,
    **overrides: object,
) -> object:
    """The configuration object of rfdetr for a variant."""
    import rfdetr.config

    spec = ALL_VARIANTS[variant]
    given = dict(
        num_classes=num_classes,
        num_queries=num_queries,
        num_select=num_queries,
        device='cpu',
        # The value is only a switch: None would load DINOv2 from the hub
        # for patch 14; nothing is ever read from this path.
        pretrain_weights='/nonexistent/x.pth'
        if '14' in variant or spec.input_hw == _B14
        else None,
    )
    if spec.upstream == 'ModelConfig':
        given.update(XL_FAMILY)
    given.update(spec.overrides)
    given.update(overrides)
    return getattr(rfdetr.config, spec.upstream)(**given)


def build_upstream(
    config: object, seed: int = 0, train_config: object = None
) -> nn.Module:
    """A perturbed random model whose spare class row is dead."""
    from rfdetr.models import build_model_from_config

    # rfdetr sets TF32 on import.
    torch.set_float32_matmul_precision('highest')
    torch.manual_seed(seed)
    model = build_model_from_config(config, train_config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
        for layer in class_layers(model):
            layer.weight[-1] = 0.0
            layer.bias[-1] = DEAD_BIAS
    return model


def class_layers(upstream: nn.Module) -> list[nn.Linear]:
    """All class layers of upstream's model."""
    return [
        upstream.class_embed,
        *upstream.transformer.enc_out_class_embed,
    ]


def convert(
    state_dict: dict[str, Tensor], class_names: list[str] | None = None
) -> dict[str, Tensor]:
    """Upstream's tensors under our names (weights or gradients)."""
    return upstream_to_mmdet(state_dict, class_names)[0]


def config_file(variant: str) -> Path:
    """The shipped config of a variant."""
    family = 'rfdetr/rfdetr'
    for task in ('seg', 'pose'):
        if variant.startswith(f'{task}-'):
            family = f'rfdetr_{task}/rfdetr-{task}'
    return CONFIGS / f'{family}_{ALL_VARIANTS[variant].config}_coco.py'


def our_config(
    variant: str,
    num_classes: int = NUM_CLASSES,
    num_queries: int = NUM_QUERIES,
) -> Config:
    """The model of the shipped config, with few classes and queries."""
    model = Config.fromfile(config_file(variant)).model
    model.bbox_head.num_classes = num_classes
    model.bbox_head.num_queries = num_queries
    model.test_cfg.max_per_img = num_queries
    if 'pose-' in variant:
        model.bbox_head.num_keypoints = NUM_KEYPOINTS[:num_classes]
    return model


@lru_cache(maxsize=1)
def build_pair(variant: str) -> Pair:
    """Both models of a variant; the last built pair is kept."""
    config = upstream_config(variant)
    upstream = build_upstream(config)
    ours = MODELS.build(our_config(variant))
    state_dict = convert(upstream.state_dict())
    missing, unexpected = ours.load_state_dict(state_dict, strict=True)
    assert not missing and not unexpected
    return Pair(upstream, ours, config, ALL_VARIANTS[variant].input_hw)


def nested(images: Tensor | list[Tensor]) -> object:
    """Upstream's batch: images padded to one size, with their mask."""
    from rfdetr.utilities.tensors import nested_tensor_from_tensor_list

    return nested_tensor_from_tensor_list(list(images))
