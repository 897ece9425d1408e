"""Operators that mmdeploy would write as plugins or in pieces."""

import torch
from mmdeploy.core import SYMBOLIC_REWRITER
from mmdeploy.utils import IR, get_ir_config

MIN_OPSET = 17
"""The first with LayerNormalization; GridSample is of 16."""


@SYMBOLIC_REWRITER.register_symbolic(
    'layer_norm',
    is_pytorch=True,
    ir=IR.ONNX,
    arg_descriptors=['v', 'is', 'v', 'v', 'f', 'none'],
)
def layer_norm(  # noqa: ANN201, D417
    g, input, normalized_shape, weight, bias, eps, cudnn_enable
):
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
def grid_sampler(  # noqa: ANN201, D417
    g, input, grid, interpolation_mode, padding_mode, align_corners
):
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
    'constant_pad_nd',
    is_pytorch=True,
    ir=IR.ONNX,
    arg_descriptors=['v', 'is', 'f'],
)
def constant_pad_nd(g, input, pad, value):  # noqa: ANN201, D417
    """Write Pad by known numbers, which torch computes within the graph."""
    rank = len(input.type().sizes())
    before, after = [0] * rank, [0] * rank
    # PyTorch names the last dimension first.
    for i in range(len(pad) // 2):
        before[-1 - i], after[-1 - i] = pad[2 * i : 2 * i + 2]
    pads = g.op('Constant', value_t=torch.tensor(before + after))
    fill = g.op('Constant', value_t=torch.tensor(value))
    return g.op('Pad', input, pads, fill)
