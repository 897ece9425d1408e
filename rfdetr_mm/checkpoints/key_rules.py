"""The table that names every weight in both layouts.

Each rule gives our key, upstream's key and upstream's shape. Words in braces
are indices; letters in shapes are sizes that must agree within a file, so a
mis-shaped weight is found without building a model. The same table drives
both directions.

Source: the state dicts of rfdetr 1.11.2, models/lwdetr.py LWDETR.
"""

import dataclasses

Dim = int | str


@dataclasses.dataclass(frozen=True)
class Rule:
    """How one kind of weight is called and stored in both layouts.

    Args:
        ours: Our key, with index words in braces.
        upstream: Upstream's key, likewise.
        shape: Upstream's shape. A number is itself, ``'d'`` a size, ``'3d'``
            a multiple of it, ``'*'`` any size.
        layout: ``'same'``; ``'stack'`` if ours stacks upstream's groups along
            a new first dimension; ``'rows'`` if ours views upstream's
            group-major rows (groups * queries, …) as (groups, queries, …).
        option: Name of a part that a model may lack as a whole.
    """

    ours: str
    upstream: str
    shape: tuple[Dim, ...]
    layout: str = 'same'
    option: str | None = None


def _affine(
    ours: str,
    upstream: str,
    shape: tuple[Dim, ...],
    layout: str = 'same',
    option: str | None = None,
) -> list[Rule]:
    """Rules of a weight of ``shape`` and a bias as long as its output."""
    return [
        Rule(f'{ours}.weight', f'{upstream}.weight', shape, layout, option),
        Rule(f'{ours}.bias', f'{upstream}.bias', shape[:1], layout, option),
    ]


def _conv_norm(
    ours: str,
    upstream: str,
    shape: tuple[Dim, ...],
    option: str | None = None,
) -> list[Rule]:
    """Rules of a convolution without bias and the norm after it."""
    return [
        Rule(
            f'{ours}.conv.weight',
            f'{upstream}.conv.weight',
            shape,
            option=option,
        ),
        *_affine(f'{ours}.norm', f'{upstream}.bn', shape[:1], 'same', option),
    ]


def _backbone_rules() -> list[Rule]:
    """Sizes: C width, p patch, T rows of the position table."""
    theirs = 'backbone.0.encoder.encoder'
    table = f'{theirs}.embeddings'
    block = f'{theirs}.encoder.layer.{{block}}'
    ours = 'backbone.blocks.{block}'
    rules = [
        Rule('backbone.cls_token', f'{table}.cls_token', (1, 1, 'C')),
        Rule('backbone.mask_token', f'{table}.mask_token', (1, 'C')),
        Rule(
            'backbone.pos_embed',
            f'{table}.position_embeddings',
            (1, 'T', 'C'),
        ),
        Rule(
            'backbone.register_tokens',
            f'{table}.register_tokens',
            (1, '*', 'C'),
            option='registers',
        ),
        *_affine(
            'backbone.patch_embed',
            f'{table}.patch_embeddings.projection',
            ('C', '*', 'p', 'p'),
        ),
        *_affine('backbone.norm', f'{theirs}.layernorm', ('C',)),
    ]
    for name in ('norm1', 'norm2'):
        rules += _affine(f'{ours}.{name}', f'{block}.{name}', ('C',))
    for name in ('query', 'key', 'value'):
        rules += _affine(
            f'{ours}.attn.{name}',
            f'{block}.attention.attention.{name}',
            ('C', 'C'),
        )
    rules += _affine(
        f'{ours}.attn.proj', f'{block}.attention.output.dense', ('C', 'C')
    )
    for name in ('layer_scale1', 'layer_scale2'):
        rules.append(
            Rule(f'{ours}.{name}.weight', f'{block}.{name}.lambda1', ('C',))
        )
    rules += _affine(f'{ours}.mlp.fc1', f'{block}.mlp.fc1', ('4C', 'C'))
    rules += _affine(f'{ours}.mlp.fc2', f'{block}.mlp.fc2', ('C', '4C'))
    return rules


def _neck_rules(
    neck: str = 'neck',
    theirs: str = 'backbone.0.projector',
    option: str | None = None,
) -> list[Rule]:
    """Sizes: C backbone width, c half of the d output channels.

    Args:
        neck: Our projector.
        theirs: Upstream's.
        option: Name of the projector, if a model may lack it.
    """
    resampler = f'{theirs}.stages_sampling.{{stage}}.{{map}}.0'
    fusion = f'{theirs}.stages.{{stage}}.0'
    ours = f'{neck}.fusions.{{stage}}'
    ours_resampler = f'{neck}.resamplers.{{stage}}.{{map}}'
    up, down = (f'{option or ""}{way}sampling' for way in ('up', 'down'))
    rules = [
        Rule(
            f'{ours_resampler}.weight',
            f'{resampler}.weight',
            ('C', 'u', 2, 2),
            option=up,
        ),
        Rule(f'{ours_resampler}.bias', f'{resampler}.bias', ('u',), option=up),
        *_conv_norm(ours_resampler, resampler, ('C', 'C', 3, 3), down),
        *_conv_norm(
            f'{ours}.reduce', f'{fusion}.cv1', ('2c', '*', 1, 1), option
        ),
        *_conv_norm(
            f'{ours}.expand', f'{fusion}.cv2', ('d', '*', 1, 1), option
        ),
        *_affine(
            f'{neck}.norms.{{stage}}',
            f'{theirs}.stages.{{stage}}.1',
            ('d',),
            option=option,
        ),
    ]
    for index, name in enumerate(('cv1', 'cv2')):
        rules += _conv_norm(
            f'{ours}.bottlenecks.{{bottleneck}}.{index}',
            f'{fusion}.m.{{bottleneck}}.{name}',
            ('c', 'c', 3, 3),
            option,
        )
    return rules


def _query_rules() -> list[Rule]:
    """Sizes: d embedding, R groups * queries, K class rows."""
    ours = 'bbox_head.query_selector'
    rules = [
        Rule(
            'bbox_head.query_embedding',
            'query_feat.weight',
            ('R', 'd'),
            'rows',
        ),
        Rule(
            'bbox_head.query_box_deltas',
            'refpoint_embed.weight',
            ('R', 4),
            'rows',
        ),
    ]
    shapes: list[tuple[str, str, tuple[Dim, ...]]] = [
        ('proj', 'enc_output.{group}', ('d', 'd')),
        ('norm', 'enc_output_norm.{group}', ('d',)),
        ('cls_branch', 'enc_out_class_embed.{group}', ('K', 'd')),
    ]
    for index, out in enumerate(('d', 'd', 4)):
        shapes.append(
            (
                f'reg_branch.{index}',
                f'enc_out_bbox_embed.{{group}}.layers.{index}',
                (out, 'd'),
            )
        )
    for name, upstream, shape in shapes:
        rules += _affine(
            f'{ours}.{name}', f'transformer.{upstream}', shape, 'stack'
        )
    return rules


def _decoder_rules() -> list[Rule]:
    """Sizes: d embedding, F feed-forward, a attention weights per query."""
    theirs = 'transformer.decoder.layers.{layer}'
    ours = 'bbox_head.decoder.layers.{layer}'
    attn = 'self_attn.in_proj'
    cross = 'cross_attn'
    rules = [
        Rule(f'{ours}.{attn}_weight', f'{theirs}.{attn}_weight', ('3d', 'd')),
        Rule(f'{ours}.{attn}_bias', f'{theirs}.{attn}_bias', ('3d',)),
    ]
    for name, upstream, shape in (
        ('self_attn.out_proj', 'self_attn.out_proj', ('d', 'd')),
        (
            f'{cross}.sampling_offsets',
            f'{cross}.sampling_offsets',
            ('2a', 'd'),
        ),
        (
            f'{cross}.attention_weights',
            f'{cross}.attention_weights',
            ('a', 'd'),
        ),
        (f'{cross}.value_proj', f'{cross}.value_proj', ('d', 'd')),
        (f'{cross}.output_proj', f'{cross}.output_proj', ('d', 'd')),
        ('norms.0', 'norm1', ('d',)),
        ('norms.1', 'norm2', ('d',)),
        ('norms.2', 'norm3', ('d',)),
        ('ffn.layers.0.0', 'linear1', ('F', 'd')),
        ('ffn.layers.1', 'linear2', ('d', 'F')),
    ):
        rules += _affine(f'{ours}.{name}', f'{theirs}.{upstream}', shape)
    return rules


def _branch_rules() -> list[Rule]:
    decoder = 'bbox_head.decoder'
    rules = _affine(f'{decoder}.norm', 'transformer.decoder.norm', ('d',))
    for index, width in enumerate(('2d', 'd')):
        rules += _affine(
            f'{decoder}.query_pos_mlp.layers.{index}',
            f'transformer.decoder.ref_point_head.layers.{index}',
            ('d', width),
        )
    rules += _affine('bbox_head.cls_branch', 'class_embed', ('K', 'd'))
    for index, out in enumerate(('d', 'd', 4)):
        rules += _affine(
            f'bbox_head.reg_branch.layers.{index}',
            f'bbox_embed.layers.{index}',
            (out, 'd'),
        )
    return rules


def _mask_rules() -> list[Rule]:
    """Sizes: d embedding. There is one block for each decoder layer."""
    ours, theirs = 'bbox_head.mask_branch', 'segmentation_head'
    block, their_block = (
        f'{ours}.blocks.{{layer}}',
        f'{theirs}.blocks.{{layer}}',
    )
    query_ffn, their_ffn = (
        f'{ours}.query_ffn',
        f'{theirs}.query_features_block',
    )
    rules = [Rule(f'{ours}.bias', f'{theirs}.bias', (1,), option='masks')]
    shapes: list[tuple[str, str, tuple[Dim, ...]]] = [
        (f'{block}.depthwise', f'{their_block}.dwconv', ('d', 1, 3, 3)),
        (f'{block}.norm', f'{their_block}.norm', ('d',)),
        (f'{block}.pointwise', f'{their_block}.pwconv1', ('d', 'd')),
        (
            f'{ours}.feature_proj',
            f'{theirs}.spatial_features_proj',
            ('d', 'd', 1, 1),
        ),
        (f'{query_ffn}.norm', f'{their_ffn}.norm_in', ('d',)),
        (f'{query_ffn}.fc1', f'{their_ffn}.layers.0', ('4d', 'd')),
        (f'{query_ffn}.fc2', f'{their_ffn}.layers.2', ('d', '4d')),
        (f'{ours}.query_proj', f'{theirs}.query_features_proj', ('d', 'd')),
    ]
    for name, upstream, shape in shapes:
        rules += _affine(name, upstream, shape, option='masks')
    return rules


def _keypoint_rules() -> list[Rule]:
    """Sizes: d embedding, P keypoints, b attention weights per keypoint."""
    rules = [
        Rule(
            'bbox_head.decoder.keypoint_pos',
            'transformer.decoder.keypoint_pos_embed',
            ('P', 'd'),
        )
    ]
    for ours, theirs in (
        ('keypoint_queries', 'keypoint_query_initializer'),
        ('proposal_keypoint_queries', 'keypoint_query_initializer_enc'),
    ):
        ours, theirs = f'bbox_head.{ours}', f'transformer.{theirs}'
        modulation = f'{theirs}.adaLN_modulation'
        rules += [
            Rule(f'{ours}.queries', f'{theirs}.queries', ('P', 'd')),
            *_affine(f'{ours}.fc1', f'{modulation}.0', ('d', 'd')),
            *_affine(f'{ours}.fc2', f'{modulation}.2', ('3d', 'd')),
            *_affine(f'{ours}.out_proj', f'{theirs}.out_proj', ('d', 'd')),
        ]
    for index, out in enumerate(('d', 'd', 8)):
        rules += _affine(
            f'bbox_head.keypoint_branch.layers.{index}',
            f'keypoint_embed.layers.{index}',
            (out, 'd'),
        )
        rules += _affine(
            f'bbox_head.proposal_keypoint_branch.{index}',
            f'transformer.enc_out_keypoint_embed.{{group}}.layers.{index}',
            (out, 'd'),
            'stack',
        )
    rules += _keypoint_layer_rules()
    return [dataclasses.replace(rule, option='keypoints') for rule in rules]


def _keypoint_layer_rules() -> list[Rule]:
    theirs = 'transformer.decoder.layers.{layer}'
    ours = 'bbox_head.decoder.keypoint_layers.{layer}'
    attn, their_attn = (
        f'{ours}.self_attn.in_proj',
        f'{theirs}.kp_inst_self_attn.in_proj',
    )
    cross, their_cross = f'{ours}.cross_attn', f'{theirs}.kp_cross_attn'
    rules = [
        Rule(f'{attn}_weight', f'{their_attn}_weight', ('3d', 'd')),
        Rule(f'{attn}_bias', f'{their_attn}_bias', ('3d',)),
        Rule(
            f'{ours}.instance_scale',
            f'{theirs}.instance_kp_layer_scale',
            (1,),
        ),
    ]
    for name, upstream, shape in (
        (
            f'{ours}.self_attn.out_proj',
            f'{theirs}.kp_inst_self_attn.out_proj',
            ('d', 'd'),
        ),
        (f'{ours}.instance_norm', f'{theirs}.kp_inst_norm', ('d',)),
        (f'{ours}.norms.0', f'{theirs}.kp_norm', ('d',)),
        (f'{ours}.norms.1', f'{theirs}.kp_cross_attn_norm', ('d',)),
        (f'{ours}.norms.2', f'{theirs}.kp_norm5', ('d',)),
        (
            f'{cross}.sampling_offsets',
            f'{their_cross}.sampling_offsets',
            ('2b', 'd'),
        ),
        (
            f'{cross}.attention_weights',
            f'{their_cross}.attention_weights',
            ('b', 'd'),
        ),
        (f'{cross}.value_proj', f'{their_cross}.value_proj', ('d', 'd')),
        (f'{cross}.output_proj', f'{their_cross}.output_proj', ('d', 'd')),
        (f'{ours}.fc1', f'{theirs}.kp_linear1', ('4d', 'd')),
        (f'{ours}.fc2', f'{theirs}.kp_linear3', ('d', '4d')),
    ):
        rules += _affine(name, upstream, shape)
    return rules


RULES: tuple[Rule, ...] = (
    *_backbone_rules(),
    *_neck_rules(),
    *_query_rules(),
    *_decoder_rules(),
    *_branch_rules(),
    *_mask_rules(),
    *_neck_rules(
        'neck.second', 'backbone.0.cross_attn_projector', 'second projector'
    ),
    *_keypoint_rules(),
)
