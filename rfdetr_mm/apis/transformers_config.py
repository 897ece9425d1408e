"""A model's config as transformers' RF-DETR has it, and a check of one."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

from rfdetr_mm.checkpoints.transformers_files import CONFIG_FILE, MODEL_TYPE
from rfdetr_mm.errors import InputError
from rfdetr_mm.models import WindowedDINOv2
from rfdetr_mm.models.backbones.windowed_dinov2 import NUM_BLOCKS
from rfdetr_mm.sizes.config_facts import image_size

from .model_config import read_saved_model

_HEADS = {
    'RFDETRHead': 'RfDetrForObjectDetection',
    'RFDETRInsHead': 'RfDetrForInstanceSegmentation',
}
# Tables and rows that loading fits to the model, or what training alone has.
_NOT_COMPARED = ('image_size', 'num_queries', 'group_detr', 'dropout')
_GREY_LEVELS = 255.0


def transformers_config(
    config: Config, class_names: Sequence[str] = ()
) -> dict[str, Any]:
    """Describe a config's model in transformers' words.

    Args:
        config: The config of the model.
        class_names: Names of its classes.

    Returns:
        The content of ``config.json``.

    Raises:
        InputError: If transformers cannot express the model.

    Source: transformers 5.24.0, models/rf_detr/configuration_rf_detr.py.
    """
    model = config.model
    _refuse_others(model)
    numbers = read_saved_model(model)
    backbone, width = model.backbone, numbers['hidden_dim']
    sizes = WindowedDINOv2.arch_settings[backbone.arch]
    described = dict(
        architectures=[_HEADS[model.bbox_head.type]],
        model_type=MODEL_TYPE,
        backbone_config=dict(
            model_type='rf_detr_dinov2',
            hidden_size=sizes['embed_dims'],
            num_attention_heads=sizes['num_heads'],
            num_hidden_layers=NUM_BLOCKS,
            mlp_ratio=4,
            hidden_act='gelu',
            qkv_bias=True,
            use_swiglu_ffn=False,
            apply_layernorm=True,
            layer_norm_eps=1e-6,
            image_size=backbone.img_size,
            patch_size=numbers['patch_size'],
            num_channels=backbone.get('in_channels', 3),
            num_windows=numbers['num_windows'],
            out_features=[f'stage{i + 1}' for i in backbone.out_indices],
        ),
        d_model=width,
        hidden_expansion=0.5,
        c2f_num_blocks=model.neck.get('num_bottlenecks', 3),
        activation_function='silu',
        layer_norm_eps=1e-5,
        decoder_layers=numbers['dec_layers'],
        decoder_ffn_dim=model.bbox_head.decoder.feedforward_channels,
        decoder_self_attention_heads=numbers['sa_nheads'],
        decoder_cross_attention_heads=numbers['ca_nheads'],
        decoder_n_points=numbers['dec_n_points'],
        decoder_activation_function='relu',
        num_feature_levels=1,
        num_queries=numbers['num_queries'],
        group_detr=numbers['group_detr'],
        dropout=0.0,  # transformers' default is 0.1, rfdetr's is none
    )
    if 'mask_downsample_ratio' in numbers:
        described.update(
            mask_downsample_ratio=numbers['mask_downsample_ratio'],
            segmentation_head_activation_function='gelu',
            intermediate_size=4 * width,
        )
    if class_names:
        described.update(
            id2label={str(i): name for i, name in enumerate(class_names)},
            label2id={name: i for i, name in enumerate(class_names)},
        )
    return described


def _refuse_others(model: Mapping[str, Any]) -> None:
    """Raise InputError for a model that transformers does not have."""
    backbone, neck, head = model.backbone, model.neck, model.bbox_head
    used = range(max(backbone.out_indices) + 1)
    after_taps = [i for i in used if i - 1 in backbone.out_indices]
    is_global = [i for i in used if i in backbone.global_attn_indices]
    problems = {
        f'a head of type {head.type}': head.type not in _HEADS,
        f'a neck of type {neck.type}': neck.type != 'MultiScaleProjector',
        f'maps of the scales {list(neck.scale_factors)}': [
            float(scale) for scale in neck.scale_factors
        ]
        != [1.0],
        'register tokens': backbone.get('num_registers', 0) > 0,
        f'global attention in the blocks {is_global}': is_global != after_taps
        and backbone.num_windows > 1,
    }
    found = [name for name, is_there in problems.items() if is_there]
    if found:
        raise InputError(
            f'The model has {", ".join(found)}, which RF-DETR in transformers '
            '5.24 does not have: it has boxes or masks, one map of scale 1 '
            'and global attention after each block that the map is made of.'
        )


def check_transformers_config(
    saved: Mapping[str, Any], config: Config
) -> None:
    """Compare the model of a ``config.json`` with that of a config.

    Shapes of weights do not show heads, windows, activations or taps.

    Args:
        saved: The content of ``config.json``.
        config: The config that the weights are for.

    Raises:
        InputError: If they differ; all differences are listed.
    """
    wanted = transformers_config(config)
    differences = _differences(saved, wanted)
    if differences:
        raise InputError(
            f'{CONFIG_FILE} describes another model than the config: '
            f'{"; ".join(differences)}. Take the config of its size, or set '
            'its model to these values.'
        )


def _differences(
    saved: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = ''
) -> list[str]:
    found = []
    for name, value in wanted.items():
        if name not in saved or name in _NOT_COMPARED:
            continue
        other = saved[name]
        if isinstance(value, dict) and isinstance(other, Mapping):
            found += _differences(other, value, f'{prefix}{name}.')
        elif other != value:
            found.append(f'{prefix}{name} is {other!r} there, {value!r} here')
    return found


def processor_config(config: Config) -> dict[str, Any]:
    """Describe how transformers must prepare images for a config's model.

    Args:
        config: The config of the model.

    Returns:
        The content of ``preprocessor_config.json``.
    """
    height, width = image_size(config)
    norm = config.model.data_preprocessor
    return dict(
        image_processor_type='RfDetrImageProcessor',
        format='coco_detection',
        size=dict(height=height, width=width),
        image_mean=[round(v / _GREY_LEVELS, 6) for v in norm.mean],
        image_std=[round(v / _GREY_LEVELS, 6) for v in norm.std],
        **{
            f'do_{step}': True
            for step in ('resize', 'rescale', 'normalize', 'pad')
        },
        do_convert_annotations=True,
        resample=2,  # bilinear
        rescale_factor=1 / _GREY_LEVELS,
    )
