"""LoRA and DoRA adapters in state dicts: their keys, and merging them.

Outside the rooms, because loading (models) and converting (checkpoints) both
need it. Imports PyTorch only; adapters are built by peft, merging is without.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rfdetr_mm.errors import InputError

# Of a layer that peft has wrapped, after the layer's own name
BASE = '.base_layer.'
DOWN = '.lora_A.default.weight'
UP = '.lora_B.default.weight'
MAGNITUDE = '.lora_magnitude_vector.default.weight'
# Ours: peft keeps it in the adapter's config, outside the weights
ALPHA = '.alpha'


def find_adapted_layers(state_dict: Mapping[str, Tensor]) -> list[str]:
    """List the layers of a state dict that have adapters.

    Args:
        state_dict: Weights under any names.

    Returns:
        Names such as ``backbone.blocks.0.attn.query``, in the dict's order.
    """
    return [key[: -len(DOWN)] for key in state_dict if key.endswith(DOWN)]


def merge_adapters(
    state_dict: Mapping[str, Tensor], layers: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """Merge the adapters of a state dict into the weights that they adapt.

    Args:
        state_dict: Weights with adapters, of this package or of rfdetr. Not
            changed.
        layers: Names of the layers to merge; all that have adapters if None.

    Returns:
        Weights of the same model without adapters; without any adapter the
        given weights.

    Raises:
        InputError: If a part of an adapter is missing.

    Source: rfdetr 1.11.2, Backbone.export, which has peft do it.
    """
    if layers is None:
        layers = find_adapted_layers(state_dict)
    weights = {}
    for layer in layers:
        needed = [f'{layer}{BASE}weight', layer + DOWN, layer + UP]
        missing = [key for key in needed if key not in state_dict]
        if missing:
            raise InputError(
                f'the adapter of {layer} cannot be merged, its weights are '
                f'not complete: missing {", ".join(missing)}; a file with '
                'adapters must hold the weights that they adapt as well'
            )
        weights[f'{layer}.weight'] = merged_weight(
            *(state_dict[key] for key in needed),
            magnitude=state_dict.get(layer + MAGNITUDE),
            alpha=state_dict.get(layer + ALPHA),
        )
    dropped = {
        layer + part
        for layer in layers
        for part in (DOWN, UP, MAGNITUDE, ALPHA)
    }
    merged = {}
    for key, value in state_dict.items():
        layer, base, name = key.rpartition(BASE)
        if base and layer in layers:
            key = f'{layer}.{name}'
        if key not in dropped:
            merged[key] = weights.get(key, value)
    return merged


def merged_weight(
    weight: Tensor,
    down: Tensor,
    up: Tensor,
    magnitude: Tensor | None = None,
    alpha: Tensor | float | None = None,
) -> Tensor:
    """Compute the weight of a linear layer with its adapter.

    With W the weight, A and B the adapter and s = alpha / rank, LoRA's is
    V = W + s * B @ A; DoRA's has the rows of V, scaled to the lengths in
    ``magnitude``.

    Args:
        weight: W, shape (out_features, in_features).
        down: A, shape (rank, in_features).
        up: B, shape (out_features, rank).
        magnitude: DoRA's magnitudes, shape (out_features,); None for LoRA.
        alpha: Strength of the adapter; its rank if None, as upstream's.

    Returns:
        Shape and dtype of ``weight``; computed in float32 at least.

    Source: "LoRA" (arXiv 2106.09685), "DoRA: Weight-Decomposed Low-Rank
        Adaptation" (arXiv 2402.09353).
    """
    dtype = torch.promote_types(weight.dtype, torch.float32)
    scale = 1.0 if alpha is None else float(alpha) / len(down)
    merged = weight.to(dtype) + scale * (up.to(dtype) @ down.to(dtype))
    if magnitude is not None:
        lengths = torch.linalg.norm(merged, dim=1)
        merged = (magnitude.to(dtype) / lengths)[:, None] * merged
    return merged.to(weight.dtype)
