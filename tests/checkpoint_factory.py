"""Small checkpoints in upstream's layout, written by hand from its key list.

Nothing here comes from the converter's own table, so the tests compare two
independent descriptions.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

LORA_LAYER = (
    'backbone.0.encoder.base_model.model.encoder.encoder.layer.1'
    '.attention.attention.{}'
)
WIDTH, EMBED, PATCH, GRID, FFN, POINTS = 8, 12, 4, 3, 20, 6


def _affine(name: str, *shape: int) -> Iterable[tuple[str, tuple[int, ...]]]:
    return [(f'{name}.weight', shape), (f'{name}.bias', shape[:1])]


def _backbone(num_blocks: int, num_registers: int, width: int) -> list:
    pre = 'backbone.0.encoder.encoder'
    shapes = [
        (f'{pre}.embeddings.cls_token', (1, 1, width)),
        (f'{pre}.embeddings.mask_token', (1, width)),
        (f'{pre}.embeddings.position_embeddings', (1, 1 + GRID**2, width)),
        *_affine(
            f'{pre}.embeddings.patch_embeddings.projection',
            width, 3, PATCH, PATCH,
        ),
        *_affine(f'{pre}.layernorm', width),
    ]  # fmt: skip
    if num_registers:
        shapes.append(
            (f'{pre}.embeddings.register_tokens', (1, num_registers, width))
        )
    for i in range(num_blocks):
        block = f'{pre}.encoder.layer.{i}'
        for norm in ('norm1', 'norm2'):
            shapes += _affine(f'{block}.{norm}', width)
        for name in ('query', 'key', 'value'):
            shapes += _affine(
                f'{block}.attention.attention.{name}', width, width
            )
        shapes += _affine(f'{block}.attention.output.dense', width, width)
        shapes += [
            (f'{block}.layer_scale{j}.lambda1', (width,)) for j in (1, 2)
        ]
        shapes += _affine(f'{block}.mlp.fc1', 4 * width, width)
        shapes += _affine(f'{block}.mlp.fc2', width, 4 * width)
    return shapes


def _conv_norm(name: str, *shape: int) -> list:
    return [(f'{name}.conv.weight', shape), *_affine(f'{name}.bn', shape[0])]


def _neck(scales: str, width: int, pre: str = 'backbone.0.projector') -> list:
    half, shapes = EMBED // 2, []
    for s, scale in enumerate(scales.split('+')):
        fused = 4 * width
        for j in range(4):
            name = f'{pre}.stages_sampling.{s}.{j}.0'
            if scale == 'P3':
                shapes += [
                    (f'{name}.weight', (width, width // 2, 2, 2)),
                    (f'{name}.bias', (width // 2,)),
                ]
                fused = 2 * width
            elif scale == 'P5':
                shapes += _conv_norm(name, width, width, 3, 3)
        stage = f'{pre}.stages.{s}'
        shapes += _conv_norm(f'{stage}.0.cv1', EMBED, fused, 1, 1)
        shapes += _conv_norm(f'{stage}.0.cv2', EMBED, 5 * half, 1, 1)
        for i in range(3):
            for conv in ('cv1', 'cv2'):
                shapes += _conv_norm(
                    f'{stage}.0.m.{i}.{conv}', half, half, 3, 3
                )
        shapes += _affine(f'{stage}.1', EMBED)
    return shapes


def _decoder(num_layers: int) -> list:
    shapes = []
    for i in range(num_layers):
        layer = f'transformer.decoder.layers.{i}'
        shapes += [
            (f'{layer}.self_attn.in_proj_weight', (3 * EMBED, EMBED)),
            (f'{layer}.self_attn.in_proj_bias', (3 * EMBED,)),
            *_affine(f'{layer}.self_attn.out_proj', EMBED, EMBED),
            *_affine(
                f'{layer}.cross_attn.sampling_offsets', 2 * POINTS, EMBED
            ),
            *_affine(f'{layer}.cross_attn.attention_weights', POINTS, EMBED),
            *_affine(f'{layer}.cross_attn.value_proj', EMBED, EMBED),
            *_affine(f'{layer}.cross_attn.output_proj', EMBED, EMBED),
            *_affine(f'{layer}.linear1', FFN, EMBED),
            *_affine(f'{layer}.linear2', EMBED, FFN),
        ]
        for norm in ('norm1', 'norm2', 'norm3'):
            shapes += _affine(f'{layer}.{norm}', EMBED)
    shapes += _affine('transformer.decoder.norm', EMBED)
    head = 'transformer.decoder.ref_point_head.layers'
    shapes += _affine(f'{head}.0', EMBED, 2 * EMBED)
    shapes += _affine(f'{head}.1', EMBED, EMBED)
    return shapes


def _box_branch(name: str, out: int = 4) -> list:
    return [
        *_affine(f'{name}.layers.0', EMBED, EMBED),
        *_affine(f'{name}.layers.1', EMBED, EMBED),
        *_affine(f'{name}.layers.2', out, EMBED),
    ]


def _keypoint_parts(
    num_keypoints: int, num_layers: int, num_groups: int
) -> list:
    decoder = 'transformer.decoder'
    shapes = [
        (f'{decoder}.keypoint_pos_embed', (num_keypoints, EMBED)),
        *_box_branch('keypoint_embed', 8),
    ]
    for end in ('', '_enc'):
        name = f'transformer.keypoint_query_initializer{end}'
        shapes += [
            (f'{name}.queries', (num_keypoints, EMBED)),
            *_affine(f'{name}.adaLN_modulation.0', EMBED, EMBED),
            *_affine(f'{name}.adaLN_modulation.2', 3 * EMBED, EMBED),
            *_affine(f'{name}.out_proj', EMBED, EMBED),
        ]
    for g in range(num_groups):
        shapes += _box_branch(f'transformer.enc_out_keypoint_embed.{g}', 8)
    for i in range(num_layers):
        layer = f'{decoder}.layers.{i}'
        shapes += [
            (f'{layer}.instance_kp_layer_scale', (1,)),
            (f'{layer}.kp_inst_self_attn.in_proj_weight', (3 * EMBED, EMBED)),
            (f'{layer}.kp_inst_self_attn.in_proj_bias', (3 * EMBED,)),
            *_affine(f'{layer}.kp_inst_self_attn.out_proj', EMBED, EMBED),
            *_affine(
                f'{layer}.kp_cross_attn.sampling_offsets', 2 * POINTS, EMBED
            ),
            *_affine(
                f'{layer}.kp_cross_attn.attention_weights', POINTS, EMBED
            ),
            *_affine(f'{layer}.kp_cross_attn.value_proj', EMBED, EMBED),
            *_affine(f'{layer}.kp_cross_attn.output_proj', EMBED, EMBED),
            *_affine(f'{layer}.kp_linear1', 4 * EMBED, EMBED),
            *_affine(f'{layer}.kp_linear3', EMBED, 4 * EMBED),
        ]
        for norm in (
            'kp_inst_norm',
            'kp_norm',
            'kp_cross_attn_norm',
            'kp_norm5',
        ):
            shapes += _affine(f'{layer}.{norm}', EMBED)
    return shapes


def _mask_head(num_layers: int) -> list:
    pre = 'segmentation_head'
    shapes = [
        (f'{pre}.bias', (1,)),
        *_affine(f'{pre}.spatial_features_proj', EMBED, EMBED, 1, 1),
        *_affine(f'{pre}.query_features_block.norm_in', EMBED),
        *_affine(f'{pre}.query_features_block.layers.0', 4 * EMBED, EMBED),
        *_affine(f'{pre}.query_features_block.layers.2', EMBED, 4 * EMBED),
        *_affine(f'{pre}.query_features_proj', EMBED, EMBED),
    ]
    for i in range(num_layers):
        shapes += [
            *_affine(f'{pre}.blocks.{i}.dwconv', EMBED, 1, 3, 3),
            *_affine(f'{pre}.blocks.{i}.norm', EMBED),
            *_affine(f'{pre}.blocks.{i}.pwconv1', EMBED, EMBED),
        ]
    return shapes


def upstream_state_dict(
    num_rows: int = 4,
    num_groups: int = 3,
    num_queries: int = 5,
    scales: str = 'P4',
    num_registers: int = 0,
    num_blocks: int = 2,
    num_layers: int = 2,
    width: int = WIDTH,
    with_masks: bool = False,
    keypoints: tuple[int, ...] = (),
) -> dict[str, Tensor]:
    """A complete state dict with different numbers in every weight."""
    shapes = [
        *_backbone(num_blocks, num_registers, width),
        *_neck(scales, width),
        *_decoder(num_layers),
        *_affine('class_embed', num_rows, EMBED),
        *_box_branch('bbox_embed'),
        ('query_feat.weight', (num_groups * num_queries, EMBED)),
        ('refpoint_embed.weight', (num_groups * num_queries, 4)),
    ]
    for g in range(num_groups):
        shapes += _affine(f'transformer.enc_output.{g}', EMBED, EMBED)
        shapes += _affine(f'transformer.enc_output_norm.{g}', EMBED)
        shapes += _affine(
            f'transformer.enc_out_class_embed.{g}', num_rows, EMBED
        )
        shapes += _box_branch(f'transformer.enc_out_bbox_embed.{g}')
    if with_masks:
        shapes += _mask_head(num_layers)
    if keypoints:
        shapes += _neck(scales, width, 'backbone.0.cross_attn_projector')
        shapes += _keypoint_parts(sum(keypoints), num_layers, num_groups)
    generator = torch.Generator().manual_seed(0)
    state_dict = {
        key: torch.randn(shape, generator=generator) for key, shape in shapes
    }
    largest = max(keypoints, default=0)
    state_dict['_kp_active_mask'] = torch.tensor(
        [[k < count for k in range(largest)] for count in keypoints],
        dtype=torch.bool,
    ).view(len(keypoints), largest)
    if keypoints:
        owners = [i for i, count in enumerate(keypoints) for _ in range(count)]
        state_dict['transformer.decoder.keypoint_class_mask'] = torch.tensor(
            [[False] * (1 + len(owners))]
            + [[False, *(a != b for b in owners)] for a in owners]
        )
    return state_dict


def upstream_lora_state_dict(
    weights: dict[str, Tensor], rank: int = 2
) -> dict[str, Tensor]:
    """The same weights as a LoRA run saves them, block 1 with adapters."""
    generator = torch.Generator().manual_seed(1)
    lora = {
        key.replace('0.encoder.', '0.encoder.base_model.model.', 1): tensor
        for key, tensor in weights.items()
    }
    for name in ('query', 'key', 'value'):
        layer = LORA_LAYER.format(name)
        width = len(lora[f'{layer}.bias'])
        for kind in ('weight', 'bias'):
            lora[f'{layer}.base_layer.{kind}'] = lora.pop(f'{layer}.{kind}')
        for part, shape in (
            ('lora_A', (rank, width)),
            ('lora_B', (width, rank)),
            ('lora_magnitude_vector', (width,)),
        ):
            lora[f'{layer}.{part}.default.weight'] = torch.randn(
                shape, generator=generator
            )
    return lora


def meta_dinov2_state_dict(
    num_blocks: int = 2, num_registers: int = 0
) -> dict[str, Tensor]:
    """DINOv2 weights in Meta's layout, with a fused query-key-value."""
    shapes = [
        ('cls_token', (1, 1, WIDTH)),
        ('mask_token', (1, WIDTH)),
        ('pos_embed', (1, 1 + GRID**2, WIDTH)),
        *_affine('patch_embed.proj', WIDTH, 3, PATCH, PATCH),
        *_affine('norm', WIDTH),
    ]
    if num_registers:
        shapes.append(('register_tokens', (1, num_registers, WIDTH)))
    for i in range(num_blocks):
        block = f'blocks.{i}'
        shapes += [
            *_affine(f'{block}.norm1', WIDTH),
            *_affine(f'{block}.attn.qkv', 3 * WIDTH, WIDTH),
            *_affine(f'{block}.attn.proj', WIDTH, WIDTH),
            (f'{block}.ls1.gamma', (WIDTH,)),
            *_affine(f'{block}.norm2', WIDTH),
            *_affine(f'{block}.mlp.fc1', 4 * WIDTH, WIDTH),
            *_affine(f'{block}.mlp.fc2', WIDTH, 4 * WIDTH),
            (f'{block}.ls2.gamma', (WIDTH,)),
        ]
    generator = torch.Generator().manual_seed(0)
    return {
        key: torch.randn(shape, generator=generator) for key, shape in shapes
    }


def huggingface_dinov2_state_dict(
    prefix: str = '', num_registers: int = 0
) -> dict[str, Tensor]:
    """DINOv2 weights in Hugging Face's layout."""
    start = 'backbone.0.encoder.encoder.'
    state_dict = upstream_state_dict(num_registers=num_registers)
    return {
        prefix + key.removeprefix(start): tensor
        for key, tensor in state_dict.items()
        if key.startswith(start)
    }
