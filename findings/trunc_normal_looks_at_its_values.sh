#!/usr/bin/env bash
# torch 2.14.1 (numpy 2.4.6), seen on 2026-11-30; torch 2.9.1 did none of it.
#
# torch.nn.init.trunc_normal_ used to map uniform numbers by a formula. Now it
# draws normal numbers and draws again those that are out of bounds until none
# is left, which shows outside:
#
# 1. Under FakeTensorMode, where tensors have shapes and no values, it raises
#    DataDependentOutputException, while normal_, xavier_uniform_ and
#    orthogonal_ work. A vision transformer, which uses it by custom, can no
#    longer be built there; on the meta device it still can.
# 2. How many random numbers it takes depends on the numbers themselves. With
#    one seed, two bounds that are hit differently often leave the generator in
#    different states, so that the layer initialised next gets other weights.
#    In 2.9.1 the state depended on the shape alone.
#
# Seen here:
#   under FakeTensorMode: trunc_normal_ DataDependentOutputException
#   under FakeTensorMode: normal_ ok, xavier_uniform_ ok, orthogonal_ ok
#   on the meta device: trunc_normal_ ok
#   next number after bounds of 1 and of 8 standard deviations: different
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/python" -m pip install -q torch==2.14.1 numpy==2.4.6
cat > "$work/run.py" <<'P'
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import init


def under_fake(function):
    try:
        with FakeTensorMode():
            function(torch.empty(64, 64))
        return 'ok'
    except Exception as error:
        return type(error).__name__


def next_number(bound):
    torch.manual_seed(0)
    init.trunc_normal_(torch.empty(64, 64), a=-bound, b=bound)
    return torch.rand(1).item()


seen = {
    name: under_fake(getattr(init, name))
    for name in ('trunc_normal_', 'normal_', 'xavier_uniform_', 'orthogonal_')
}
init.trunc_normal_(torch.empty(64, 64, device='meta'))
same = next_number(1.0) == next_number(8.0)
print('under FakeTensorMode:', seen)
print('on the meta device: trunc_normal_ ok')
print('the next number is', 'the same' if same else 'different')
expected = dict.fromkeys(seen, 'ok')
expected['trunc_normal_'] = 'DataDependentOutputException'
if seen != expected or same:
    raise SystemExit('the behaviour has changed')
P
"$work/env/bin/python" "$work/run.py"
