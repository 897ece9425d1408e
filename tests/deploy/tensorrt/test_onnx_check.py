"""What TensorRT's parser is known to refuse."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from rfdetr_mm.deploy.tensorrt.onnx_check import unsupported


def graph(op_type='Relu', domain='', opset=17, width=4, k=2, constant_k=True):
    """One node on (batch, 3, width) images, then TopK."""
    shape = ['batch', 3, width]
    node = helper.make_node(op_type, ['x'], ['y'], domain=domain)
    topk = helper.make_node('TopK', ['y', 'k'], ['v', 'i'], name='topk')
    inputs = [helper.make_tensor_value_info('x', TensorProto.FLOAT, shape)]
    weights = []
    if constant_k:
        weights.append(numpy_helper.from_array(np.array([k]), 'k'))
    else:
        inputs.append(
            helper.make_tensor_value_info('k', TensorProto.INT64, [1])
        )
    return helper.make_model(
        helper.make_graph(
            [node, topk],
            'graph',
            inputs,
            [
                helper.make_tensor_value_info(
                    'v', TensorProto.FLOAT, ['batch', 3, k]
                )
            ],
            weights,
        ),
        opset_imports=[helper.make_opsetid('', opset)]
        + [helper.make_opsetid(domain, 1)] * bool(domain),
    )


def test_standard_operators_with_a_dynamic_batch_pass():
    assert unsupported(graph()) == []


@pytest.mark.parametrize(
    ('changes', 'problem'),
    [
        (dict(op_type='NonZero'), 'ai.onnx::NonZero'),
        (dict(op_type='grid_sampler', domain='mmdeploy'), 'mmdeploy::grid_s'),
        (dict(opset=22), 'operator set 22 is later than 20'),
        (dict(width='width'), 'input x has a dynamic side'),
        (dict(k=3840, width=5000), 'k of TopK is not below 3840'),
        (dict(constant_k=False), 'k of TopK is not a constant'),
    ],
)
def test_every_rule(changes, problem):
    (line,) = unsupported(graph(**changes))
    assert problem in line
