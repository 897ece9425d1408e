#!/usr/bin/env bash
# onnxconverter-common 1.16.0 with onnx 1.23.2, onnxruntime 1.32.0 and numpy
# 2.4.6, seen on 2026-11-30.
#
# convert_float_to_float16 turns three kinds of valid graphs, which ONNX
# Runtime runs as they are, into something else than the same graph in float16:
#
# 1. A Cast to float32 in the middle keeps its `to`, while the value it gives
#    is declared float16: ONNX Runtime refuses the file ("Type (tensor(float16))
#    of output arg (f) ... does not match expected type (tensor(float))").
# 2. Nodes need no name in ONNX. The converter makes names out of theirs, so
#    two operators of its block list in a row end in an AttributeError, and with
#    float16 inputs in a file with "Duplicate definition of name".
# 3. keep_io_types=True promises float32 outputs. An output that an operator of
#    the block list computes (Min) becomes float16 all the same.
#
# With names on all nodes, no Cast to float32, and outputs of other operators,
# the same operators convert well: the last two lines show it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/python" -m pip install -q numpy==2.4.6 onnx==1.23.2 \
  onnxruntime==1.32.0 onnxconverter-common==1.16.0
cat > "$work/run.py" <<'P'
import warnings

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxconverter_common.float16 import convert_float_to_float16

warnings.filterwarnings('ignore')


def graph(nodes, outputs=('y',), **constants):
    """A model of one input x, (4, 8) float32; nodes: (type, in, out, attrs)."""
    named = [
        helper.make_node(kind, i.split(), o.split(), **attributes)
        for kind, i, o, attributes in nodes
    ]
    value = helper.make_tensor_value_info
    model = helper.make_model(
        helper.make_graph(
            named,
            'g',
            [value('x', TensorProto.FLOAT, [4, 8])],
            [value(o, TensorProto.FLOAT, ['a', 'b']) for o in outputs],
            [
                numpy_helper.from_array(np.array(v, np.float32), k)
                for k, v in constants.items()
            ],
        ),
        opset_imports=[helper.make_opsetid('', 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    run(model, np.float32)  # valid, and runs as it is
    return model


def run(model, kind):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {'x': np.ones((4, 8), kind)})


def with_names(model):
    for i, node in enumerate(model.graph.node):
        node.name = f'n{i}'
    return model


def outcome(model, keep):
    try:
        done = convert_float_to_float16(model, keep_io_types=keep)
        found = run(done, np.float32 if keep else np.float16)
        return ' '.join(str(array.dtype) for array in found)
    except Exception as error:
        return f'{type(error).__name__}: {str(error)[:400]}'


def cast():
    return graph([
        ('Shape', 'x', 's', {}),
        ('Cast', 's', 'f', dict(to=TensorProto.FLOAT)),
        ('ReduceProd', 'f', 'p', dict(keepdims=0)),
        ('Mul', 'x p', 'y', {}),
    ])


def two_blocked():
    return graph(
        [
            ('Min', 'x c', 'm', {}),
            ('Max', 'm c', 'n', {}),
            ('Mul', 'm n', 'y', {}),
        ],
        c=0.5,
    )


def blocked_output():
    return graph([('Min', 'x c', 'y', {})], c=0.5)


EXPECTED = [
    ('a Cast to float32', with_names(cast()), True,
     'does not match expected type (tensor(float))'),
    ('a Cast to float32, float16 input', with_names(cast()), False,
     'does not match expected type (tensor(float))'),
    ('two blocked operators without names', two_blocked(), True,
     "AttributeError: 'list' object has no attribute 'input'"),
    ('the same, float16 input', two_blocked(), False,
     'Duplicate definition of name'),
    ('an output of Min, keep_io_types', with_names(blocked_output()), True,
     'float16'),
    ('two blocked operators with names', with_names(two_blocked()), True,
     'float32'),
    ('the same, float16 input', with_names(two_blocked()), False, 'float16'),
]
changed = False
for name, model, keep, expected in EXPECTED:
    seen = outcome(model, keep)
    print(f'{name}: {seen}')
    changed |= expected not in seen
raise SystemExit('the behaviour has changed' if changed else 0)
P
"$work/env/bin/python" "$work/run.py"
