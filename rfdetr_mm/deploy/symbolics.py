"""Operators that mmdeploy would write as plugins or in pieces."""

from typing import Any

import torch
from mmdeploy.core import SYMBOLIC_REWRITER
from mmdeploy.utils import IR, get_ir_config
from torch import Value
from torch.onnx import symbolic_helper

MIN_OPSET = 17
"""The first with LayerNormalization; GridSample is of 16."""


@SYMBOLIC_REWRITER.register_symbolic(
    'layer_norm',
    is_pytorch=True,
    ir=IR.ONNX,
    arg_descriptors=['v', 'is', 'v', 'v', 'f', 'none'],
)
def layer_norm(  # noqa: D417
    g: Any,
    input: Value,
    normalized_shape: list[int],
    weight: Value,
    bias: Value,
    eps: float,
    cudnn_enable: Any,
) -> Value:
    """Write LayerNormalization, which mmdeploy takes apart."""
    return g.op(
        'LayerNormalization',
        input,
        weight,
        bias,
        axis_i=-len(normalized_shape),
        epsilon_f=eps,
    )


@SYMBOLIC_REWRITER.register_symbolic(
    'grid_sampler',
    is_pytorch=True,
    ir=IR.ONNX,
    arg_descriptors=['v', 'v', 'i', 'i', 'b'],
)
def grid_sampler(  # noqa: D417
    g: Any,
    input: Value,
    grid: Value,
    interpolation_mode: int,
    padding_mode: int,
    align_corners: bool,
) -> Value:
    """Write GridSample, for which mmdeploy has a plugin."""
    ctx = SYMBOLIC_REWRITER.get_context()
    opset = get_ir_config(ctx.cfg)['opset_version']
    linear, cubic = (
        ('bilinear', 'bicubic') if opset < 20 else ('linear', 'cubic')
    )
    return g.op(
        'GridSample',
        input,
        grid,
        mode_s=(linear, 'nearest', cubic)[interpolation_mode],
        padding_mode_s=('zeros', 'border', 'reflection')[padding_mode],
        align_corners_i=int(align_corners),
    )


@SYMBOLIC_REWRITER.register_symbolic(
    'pad',
    is_pytorch=True,
    ir=IR.ONNX,
    arg_descriptors=['v', 'is', 's', 'v'],
)
def pad(  # noqa: D417
    g: Any, input: Value, sizes: list[int], mode: str, value: Value
) -> Value:
    """Write Pad by known numbers, which torch computes within the graph."""
    rank = input.type().dim()
    before, after = [0] * rank, [0] * rank
    # PyTorch names the last dimension first.
    for i in range(len(sizes) // 2):
        before[-1 - i], after[-1 - i] = sizes[2 * i : 2 * i + 2]
    pads = g.op('Constant', value_t=torch.tensor(before + after))
    inputs = [input, pads]
    if mode == 'constant' and not symbolic_helper._is_none(value):
        inputs.append(value)
    modes = dict(replicate='edge', circular='wrap')
    return g.op('Pad', *inputs, mode_s=modes.get(mode, mode))
