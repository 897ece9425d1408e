"""What can be chosen about a model, under upstream's names."""

import dataclasses
import difflib
import functools
import inspect
import math
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device

from rfdetr_mm.errors import InputError
from rfdetr_mm.models import RFDETRInsHead
from rfdetr_mm.models.dense_heads.rfdetr_pose_head import TRACE_ALPHA
from rfdetr_mm.models.detectors.other_size import ENCODER, ENCODER_CHANNELS
from rfdetr_mm.sizes.blocks import parse_resolution
from rfdetr_mm.sizes.config_facts import image_size, set_image_size
from rfdetr_mm.sizes.shipped import read_config_of
from rfdetr_mm_light.sizes import Size

from .devices import find_device
from .fixed_fields import FIXED, check_fixed, fixed_fields

# Field: entries of `model` in our configs that hold its value.
_ENTRIES: dict[str, tuple[str, ...]] = {
    'num_classes': ('bbox_head.num_classes',),
    'patch_size': ('backbone.patch_size',),
    'num_windows': ('backbone.num_windows',),
    'num_channels': ('backbone.in_channels',),
    'hidden_dim': ('bbox_head.embed_dims', 'neck.out_channels'),
    'dec_layers': ('bbox_head.decoder.num_layers',),
    'sa_nheads': ('bbox_head.decoder.self_attn_num_heads',),
    'ca_nheads': ('bbox_head.decoder.cross_attn_num_heads',),
    'dec_n_points': ('bbox_head.decoder.num_points',),
    'num_queries': ('bbox_head.num_queries',),
    'group_detr': ('bbox_head.num_groups',),
    'num_select': ('test_cfg.max_per_img',),
}
_ALL_BLOCKS = 12  # of the encoder
_MASK_UPSAMPLE_RATIO = (
    inspect.signature(RFDETRInsHead).parameters['mask_upsample_ratio'].default
)


def _fixed() -> Any:
    """A field whose value is the size's."""
    return dataclasses.field(default=None, repr=False)


@dataclasses.dataclass
class ModelConfig:
    """The model of one size, and where its weights come from.

    Made by ``RFDETRNano.get_model_config(resolution=512)``; what is not
    given has the size's own value. Numbers that belong to the published
    weights (from ``patch_size`` to ``group_detr``) are better left alone.

    Args:
        num_classes: Classes, without background; COCO has 80. None: as many
            as the weights have.
        resolution: Side in pixels of the square that images are resized to,
            a multiple of ``patch_size * num_windows``.
        positional_encoding_size: Side of the position table in patches. It
            follows ``resolution`` unless the size has another one.
        pretrain_weights: A published file name, a path, an address, or None
            for random weights.
        device: Such as ``'cpu'`` or ``'cuda:1'``; the best one if None.
        num_queries: Queries, in training of each group.
        num_select: Detections per image at most.
        num_channels: Channels of an image.
        encoder: ``'dinov2_windowed_small'``, ``'dinov2_windowed_base'`` or
            RFDETRTiny's ``'dinov2_windowed_mini'``.
        patch_size: Side of a patch in pixels.
        num_windows: Attention windows per side.
        hidden_dim: Width of the decoder.
        dec_layers: Decoder layers; with 0 the proposals are the predictions.
        sa_nheads: Heads of the queries' attention to each other.
        ca_nheads: Heads of their attention to the image.
        dec_n_points: Points that each of these looks at.
        group_detr: Groups of queries in training.
        mask_downsample_ratio: Side of a mask's cell in pixels of the
            network's input.
        segmentation_head: Whether the size has masks; not to be changed.
        use_grouppose_keypoints: Whether it has keypoints; not to be changed.
        num_keypoints_per_class: Keypoints of each class. None: as many as
            the weights have.
        gradient_checkpointing: Recompute the encoder's blocks in training.
        freeze_encoder: Train neck and head alone.
        compile: Compile the parts of the model in training.
        cuda_graphs: Record the GPU's kernels in training and replay them;
            nothing on other devices. Not with accumulated gradients.
        backbone_lora: Train adapters of the encoder (DoRA, needs peft).
        accept_platform_model_license: Whether you accept the licence PML-1.0
            of the published XL and 2XL weights.
        postprocess_trace_alpha: How much uncertain keypoints lower the score
            of their object; from 0 on.
        fused_optimizer: Let the optimizer run as one kernel where it can.
        amp: Deprecated: False is ``amp_dtype=None`` of ``train()``.
        model_name: Name of the class; a checkpoint's own is not checked.
        out_feature_indexes: Blocks of the encoder, from 1 on, whose outputs
            are used. This and all below are the size's own and cannot be
            changed.
        projector_scale: Levels of the maps that the decoder looks at.
        two_stage: Whether queries start from proposals.
        bbox_reparam: Whether boxes are relative to references.
        lite_refpoint_refine: Whether references stay those of proposals.
        layer_norm: Whether the projector normalises its maps.
        ia_bce_loss: Whether the classes' loss is IA-BCE.
        keypoint_cross_attn: Whether keypoints look at the image.
        inter_instance_kp_attn: Whether they look at those of other objects.
        grouppose_keypoint_dim_downscale: Width of objects over keypoints'.
        dual_projector: Whether there is a second projector.
        dual_projector_kp_only: Whether it is for keypoints alone.
        num_decoder_registers: Further tokens of the decoder.
        license: Licence of the published weights.

    Source: rfdetr 1.11.2, config.py, ModelConfig (names).
    """

    num_classes: int | None
    resolution: int
    positional_encoding_size: int
    pretrain_weights: str | None
    device: str
    num_queries: int
    num_select: int
    num_channels: int
    encoder: str
    patch_size: int
    num_windows: int
    hidden_dim: int
    dec_layers: int
    sa_nheads: int
    ca_nheads: int
    dec_n_points: int
    group_detr: int
    mask_downsample_ratio: int
    segmentation_head: bool
    use_grouppose_keypoints: bool = False
    num_keypoints_per_class: list[int] | None = None
    gradient_checkpointing: bool = False
    freeze_encoder: bool = False
    compile: bool = False
    cuda_graphs: bool = False
    backbone_lora: bool = False
    accept_platform_model_license: bool = False
    postprocess_trace_alpha: float = TRACE_ALPHA
    fused_optimizer: bool = True
    amp: bool = True
    model_name: str | None = None
    out_feature_indexes: list[int] = _fixed()
    projector_scale: list[str] = _fixed()
    two_stage: bool = _fixed()
    bbox_reparam: bool = _fixed()
    lite_refpoint_refine: bool = _fixed()
    layer_norm: bool = _fixed()
    ia_bce_loss: bool = _fixed()
    keypoint_cross_attn: bool = _fixed()
    inter_instance_kp_attn: bool = _fixed()
    grouppose_keypoint_dim_downscale: int = _fixed()
    dual_projector: bool = _fixed()
    dual_projector_kp_only: bool = _fixed()
    num_decoder_registers: int = _fixed()
    license: str = _fixed()

    @property
    def block_size(self) -> int:
        """What both sides of the network's input are multiples of, in px."""
        return self.patch_size * self.num_windows

    def set_resolution(self, resolution: Any) -> None:
        """Set another resolution, and the position table if it follows.

        Args:
            resolution: Side in pixels.

        Raises:
            InputError: If it is not a positive multiple of ``block_size``.
        """
        size_hw = parse_resolution(
            resolution, self.patch_size, self.num_windows
        )
        if size_hw[0] != size_hw[1]:
            raise InputError(
                f'resolution={resolution!r} must be the side of a square in '
                'this class. A model that is trained on rectangles has a '
                'config (configs/rfdetr/README.md); predict() and export() '
                'take shape=(height, width).'
            )
        resolution = size_hw[0]
        # Base has DINOv2's own table of 37 patches at every resolution.
        if self.positional_encoding_size == self.resolution // self.patch_size:
            self.positional_encoding_size = resolution // self.patch_size
        self.resolution = resolution


def make_model_config(variant: Size, given: Mapping[str, Any]) -> ModelConfig:
    """Make the configuration of a size.

    Args:
        variant: The size.
        given: Fields of :class:`ModelConfig` to change.

    Returns:
        The configuration, checked.

    Raises:
        InputError: If a field is unknown or a value is outside its
            range.
    """
    fields = {field.name for field in dataclasses.fields(ModelConfig)}
    refuse_unknown(given, fields, f'{variant.class_name}()')
    config = ModelConfig(
        **_numbers_of(variant),
        pretrain_weights=variant.weights,
        device=get_device(),
    )
    config.num_classes = config.num_keypoints_per_class = None
    tasks = ('segmentation_head', 'use_grouppose_keypoints')
    own = {name: getattr(config, name) for name in tasks}
    for name, value in given.items():
        if name in FIXED:
            check_fixed(name, value, getattr(config, name), variant.class_name)
        elif name not in ('resolution', 'positional_encoding_size'):
            setattr(config, name, _checked(name, value, getattr(config, name)))
    for name in tasks:
        if getattr(config, name) != own[name]:
            raise InputError(
                f'{variant.class_name} has {name}={own[name]}, which cannot '
                'be changed; the sizes with masks are called RFDETRSeg…, the '
                'one with keypoints RFDETRKeypointPreview.'
            )
    if 'patch_size' in given:  # the table keeps its native image
        config.positional_encoding_size = (
            config.resolution // config.patch_size
        )
    _check_width(config)
    config.set_resolution(given.get('resolution', config.resolution))
    if 'positional_encoding_size' in given:
        config.positional_encoding_size = positive_int(
            'positional_encoding_size', given['positional_encoding_size']
        )
    return config


def _check_width(config: ModelConfig) -> None:
    heads = (config.sa_nheads, config.ca_nheads)
    # A box has four coordinates, each with its part of the encoding.
    factor = math.lcm(4, *heads)
    if config.hidden_dim % factor:
        raise InputError(
            f'hidden_dim={config.hidden_dim} is not divisible by 4, sa_nheads '
            f'({heads[0]}) and ca_nheads ({heads[1]}); take a multiple of '
            f'{factor}, or other numbers of heads'
        )


@functools.cache
def _numbers_of(variant: Size) -> dict[str, Any]:
    """Read the numbers of our config under upstream's names."""
    cfg = read_config_of(variant)
    numbers = read_saved_model(cfg.model)
    return dict(
        # What a config may leave out.
        dict(num_channels=3, mask_downsample_ratio=4),
        **numbers,
        **fixed_fields(cfg.model, variant.licence),
        resolution=image_size(cfg)[0],
        segmentation_head='mask_downsample_ratio' in numbers,
    )


def read_saved_model(model: Mapping[str, Any]) -> dict[str, Any]:
    """Read the numbers of a model's config that a checkpoint holds.

    Args:
        model: ``model`` of one of our configs, as plain data.

    Returns:
        Fields of :class:`ModelConfig`; those that it does not have, or has
        as something else than a number, are left out.
    """
    fields = {
        field: _entry(model, names[0]) for field, names in _ENTRIES.items()
    }
    fields = {k: v for k, v in fields.items() if isinstance(v, int)}
    patch_size = fields.get('patch_size')
    side = _entry(model, 'backbone.img_size')
    if isinstance(side, int) and patch_size:
        fields['positional_encoding_size'] = side // patch_size
    upsample = _entry(model, 'bbox_head.mask_upsample_ratio')
    if upsample is None and _entry(model, 'bbox_head.type') == 'RFDETRInsHead':
        upsample = _MASK_UPSAMPLE_RATIO
    if isinstance(upsample, (int, float)) and patch_size:
        fields['mask_downsample_ratio'] = round(patch_size / upsample)
    keypoints = _entry(model, 'bbox_head.num_keypoints')
    if isinstance(keypoints, (list, tuple)):
        fields.update(
            use_grouppose_keypoints=True,
            num_keypoints_per_class=list(keypoints),
        )
    encoder = f'{ENCODER}{_entry(model, "backbone.arch")}'
    if encoder in ENCODER_CHANNELS:
        fields['encoder'] = encoder
    return fields


def _entry(model: Mapping[str, Any], name: str) -> Any:
    node: Any = model
    for key in name.split('.'):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def refuse_unknown(
    given: Iterable[str], known: Iterable[str], where: str
) -> None:
    """Raise InputError for the first name that is not known.

    Args:
        given: Names that the user wrote.
        known: Names that there are.
        where: The call, for the message.

    Raises:
        InputError: With the nearest known name.
    """
    known = sorted(known)
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1, 0.5)
            hint = f' Did you mean {close[0]}?' if close else ''
            raise InputError(
                f'{where} has no argument {name!r}.{hint} Known are: '
                f'{", ".join(known)}.'
            )


def positive_int(name: str, value: Any) -> int:
    """Check a number that the user has given.

    Args:
        name: The name of the argument, for the message.
        value: What was given; integers of NumPy are integers, too.

    Returns:
        The number.

    Raises:
        InputError: If it is not a positive integer.
    """
    number = None if isinstance(value, (bool, float)) else value
    try:
        number = number.__index__()
    except AttributeError:
        number = 0
    if number <= 0:
        raise InputError(f'{name} must be a positive integer, got {value!r}')
    return number


def _natural_numbers(name: str, value: Any) -> list[int] | None:
    if value is None:
        return None
    numbers = list(value) if isinstance(value, (list, tuple)) else [None]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise InputError(
            f'{name} must be a list of natural numbers, got {value!r}'
        )
    return numbers


def _checked(name: str, value: Any, default: Any) -> Any:
    """Check a value by the type of its default."""
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise InputError(f'{name} must be True or False, got {value!r}')
        return value
    if name == 'device':
        return default if value is None else str(find_device(value))
    if name == 'pretrain_weights':
        return None if value is None else str(value)
    if name in ('num_classes', 'model_name') and value is None:
        return None
    if name == 'model_name':
        return str(value)
    if name == 'postprocess_trace_alpha':
        is_number = isinstance(value, (int, float))
        if not is_number or isinstance(value, bool) or not value >= 0:
            raise InputError(
                f'{name} must be a number from 0 on, got {value!r}'
            )
        return float(value)
    if name == 'num_keypoints_per_class':
        return _natural_numbers(name, value)
    if name == 'dec_layers' and value == 0 and not isinstance(value, bool):
        return 0  # the proposals alone
    if name == 'encoder':
        if value not in ENCODER_CHANNELS:
            raise InputError(
                f'encoder must be one of {", ".join(ENCODER_CHANNELS)}, got '
                f'{value!r}'
            )
        return value
    return positive_int(name, value)


def fill_in_model(cfg: Config, config: ModelConfig) -> None:
    """Write a configuration into a config of its size, in place.

    Args:
        cfg: The shipped config.
        config: What the model shall be; its ``num_classes`` is set.
    """
    cfg.merge_from_dict(
        {
            f'model.{name}': getattr(config, field)
            for field, names in _ENTRIES.items()
            for name in names
        }
    )
    model = cfg.model
    set_image_size(cfg, (config.resolution, config.resolution))
    model.backbone.img_size = (
        config.positional_encoding_size * config.patch_size
    )
    model.backbone.arch = config.encoder.removeprefix(ENCODER)
    channels = ENCODER_CHANNELS[config.encoder]
    model.neck.in_channels = [channels] * len(model.neck.in_channels)
    model.data_preprocessor.pad_size_divisor = config.block_size
    if config.segmentation_head:
        model.bbox_head.mask_upsample_ratio = (
            config.patch_size / config.mask_downsample_ratio
        )
    if config.use_grouppose_keypoints:
        model.bbox_head.num_keypoints = tuple(config.num_keypoints_per_class)
        model.test_cfg.trace_alpha = config.postprocess_trace_alpha
    if config.num_channels != 3:
        for name in ('mean', 'std'):
            three = list(model.data_preprocessor[name])
            model.data_preprocessor[name] = [
                three[i % 3] for i in range(config.num_channels)
            ]
        model.data_preprocessor.bgr_to_rgb = False
    model.backbone.with_cp = config.gradient_checkpointing
    if config.freeze_encoder:
        model.backbone.frozen_stages = _ALL_BLOCKS
    if config.backbone_lora:
        model.adapters = dict(type='dora')
