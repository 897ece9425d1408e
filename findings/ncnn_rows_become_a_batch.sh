#!/usr/bin/env bash
# pnnx 20261020 and ncnn 1.0.20261020 with torch 2.14.1 and numpy 2.4.6, seen on
# 2026-11-30.
#
# A table of rows, shape (6, 8), that comes of a picture and goes through a layer
# norm: pnnx takes its first dimension for ncnn's batch, as a LayerNorm has one.
# The result is a Mat of one dimension with n=6, and np.array(mat) gives the
# first of the six rows alone, without a word: shape (4,) where PyTorch has
# (6, 4). The numbers of that row are right, so that a comparison of what is
# there passes.
#
# With a leading 1, shape (1, 6, 8), the same layers give all rows (last line).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/python" -m pip install -q numpy==2.4.6 torch==2.14.1 \
  ncnn==1.0.20261020 pnnx==20261020
cat > "$work/run.py" <<'P'
import subprocess
import warnings

import ncnn
import numpy as np
import pnnx
import torch

warnings.filterwarnings('ignore')


class Rows(torch.nn.Module):
    """Cells of a map as rows, a norm, a product."""

    def __init__(self, *leading):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 1)
        self.norm, self.fc = torch.nn.LayerNorm(8), torch.nn.Linear(8, 4)
        self.leading = leading

    def forward(self, x):
        rows = self.conv(x).flatten(2).transpose(1, 2)
        return self.fc(self.norm(rows.reshape(*self.leading, -1, 8)))


torch.manual_seed(0)
x = torch.randn(1, 3, 2, 3)
for name, model in (('rows', Rows()), ('leading', Rows(1))):
    model.eval()
    with torch.no_grad():
        wanted = model(x).numpy()
        torch.jit.trace(model, x).save(f'{name}.pt')
    command = [pnnx.EXEC_PATH, f'{name}.pt', 'fp16=0']
    subprocess.run(command, check=True, capture_output=True)
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = False
    net.load_param(f'{name}.ncnn.param')
    net.load_model(f'{name}.ncnn.bin')
    extractor = net.create_extractor()
    extractor.input('in0', ncnn.Mat(x[0].numpy()))
    _, mat = extractor.extract('out0')
    given = np.array(mat)
    first = wanted.reshape(-1)[: given.size]
    print(
        f'{name}: PyTorch {wanted.shape}, ncnn {given.shape} of a Mat with '
        f'dims={mat.dims}, n={mat.n}; largest difference of what is there '
        f'{np.abs(given.reshape(-1) - first).max():.1e}'
    )
P
cd "$work" && env/bin/python run.py
