"""DINOv2's own weights for our backbone, from either of its two layouts."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .convert import ConversionReport, raise_bad_keys
from .key_map import RULES, Rule, match_keys, missing_keys, shape_errors

_OURS = 'backbone.'
_THEIRS = 'backbone.0.encoder.encoder.'

_HF_DROPPED = {'classifier.': 'classification head on top of DINOv2'}

_META_NAMES = (
    # Meta's layout in the words of Hugging Face's, longest first.
    ('patch_embed.proj.', 'embeddings.patch_embeddings.projection.'),
    ('register_tokens', 'embeddings.register_tokens'),
    ('mask_token', 'embeddings.mask_token'),
    ('pos_embed', 'embeddings.position_embeddings'),
    ('cls_token', 'embeddings.cls_token'),
    ('blocks.', 'encoder.layer.'),
    ('norm.', 'layernorm.'),
)

_META_BLOCK_NAMES = (
    ('.attn.proj.', '.attention.output.dense.'),
    ('.ls1.gamma', '.layer_scale1.lambda1'),
    ('.ls2.gamma', '.layer_scale2.lambda1'),
)


def _backbone_rules() -> tuple[Rule, ...]:
    """Rules of the backbone alone, without the models' prefixes."""
    return tuple(
        Rule(
            rule.ours.removeprefix(_OURS),
            rule.upstream.removeprefix(_THEIRS),
            rule.shape,
            option=rule.option,
        )
        for rule in RULES
        if rule.ours.startswith(_OURS)
    )


def is_dinov2(checkpoint: Mapping[str, Any]) -> bool:
    """Say whether a file holds DINOv2 weights in a layout that we know.

    Other vision transformers share most of the names; DINOv2 has layer
    scales and a mask token besides.
    """
    keys = {str(key).removeprefix('dinov2.') for key in checkpoint}
    return keys >= {
        'embeddings.patch_embeddings.projection.weight',
        'embeddings.mask_token',
        'encoder.layer.0.layer_scale1.lambda1',
    } or keys >= {
        'patch_embed.proj.weight',
        'mask_token',
        'blocks.0.ls1.gamma',
    }


def dinov2_to_backbone(
    state_dict: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], ConversionReport]:
    """Convert DINOv2 weights to the keys of our backbone.

    Args:
        state_dict: Weights of DINOv2 small, base or large, with or without
            registers, in Hugging Face's layout (``encoder.layer.0.…``, with
            or without a leading ``dinov2.``) or in Meta's
            (``blocks.0.attn.qkv.…``, split here). Not changed.

    Returns:
        Weights without the ``backbone.`` prefix, e.g. for
        ``init_cfg=dict(type='Pretrained', checkpoint=…)``, and the report.

    Raises:
        InputError: If a key is unknown, missing or mis-shaped.

    Source: transformers Dinov2Model and facebookresearch/dinov2
        DinoVisionTransformer, both Apache-2.0 (names and shapes).
    """
    report = ConversionReport()
    weights, original_keys = {}, {}
    for key, tensor in state_dict.items():
        reason = next(
            (r for start, r in _HF_DROPPED.items() if key.startswith(start)),
            None,
        )
        if reason is not None:
            report.dropped[key] = reason
        elif '.attn.qkv.' in key:
            parts = _split_qkv(_from_meta_name(key), tensor)
            report.stacked[key] = list(parts)
            weights.update(parts)
        else:
            name = _from_meta_name(key.removeprefix('dinov2.'))
            weights[name] = tensor
            original_keys[name] = key
    rules = _backbone_rules()
    matches, unknown = match_keys(weights, 'upstream', rules)
    raise_bad_keys(
        {
            'unknown': [original_keys.get(key, key) for key in unknown],
            'missing': missing_keys(matches, 'upstream', rules),
            'mis-shaped': shape_errors(matches, weights, 'upstream'),
        },
        'DINOv2 small, base or large',
        'Other sizes and models cannot be converted.',
    )
    converted = {}
    for match in matches:
        target = match.rule.ours.format(**match.indices)
        converted[target] = weights[match.key]
        report.renamed[match.key] = target
    report.num_parameters = sum(t.numel() for t in converted.values())
    return converted, report


def _from_meta_name(key: str) -> str:
    """Rename a key of Meta's layout; other keys stay as they are."""
    for start, other in _META_NAMES:
        if key.startswith(start):
            key = other + key.removeprefix(start)
            break
    if key.startswith('encoder.layer.'):
        for part, other in _META_BLOCK_NAMES:
            key = key.replace(part, other)
    return key


def _split_qkv(key: str, tensor: Tensor) -> dict[str, Tensor]:
    """Cut a fused projection, shape (3 * C, …), into query, key and value."""
    names = ('query', 'key', 'value')
    return {
        key.replace(
            '.attn.qkv.', f'.attention.attention.{name}.'
        ): part.clone()
        for name, part in zip(names, torch.chunk(tensor, 3))
    }
