#!/usr/bin/env bash
# transformers 5.24.0, torch 2.14.1, seen on 2026-11-30.
#
# RF-DETR in transformers lets an image attend within num_windows x num_windows
# windows. It cuts them with height and width swapped, and puts them together
# again the right way round. Of a square image both agree. Of a rectangle, no
# window is a part of the image, and the feature map that comes out has its
# cells in other places than the image: boxes of such a model follow the wrong
# pixels. Nothing warns; the class accepts any size that windows divide, and
# its image processor any (height, width).
#
#   grid, 2 x 2 windows   cells of the first window        cells that move
#   8 rows x 8 columns    the first 4 of rows 0 to 3       0 of 64
#   4 rows x 8 columns    columns 0, 1, 4, 5 of rows 0, 1  16 of 32
#   8 rows x 4 columns    all of rows 0 and 2              16 of 32
#
# With one window nothing moves. rfdetr 1.11.2, whose weights these are, keeps
# every cell of rectangles in its place too.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/python" -m pip install -q torch==2.14.1 torchvision==0.29.1 \
  transformers==5.24.0
cat > "$work/run.py" <<'P'
import sys

import torch
from transformers import RfDetrDinov2Backbone, RfDetrDinov2Config

PATCH, WIDTH = 2, 8


def backbone(num_windows):
    config = RfDetrDinov2Config(
        hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=1,
        image_size=16, patch_size=PATCH, num_windows=num_windows,
        out_features=['stage1'],
    )
    return RfDetrDinov2Backbone(config).eval()


def look(rows, columns, num_windows):
    """Ids of the first window's cells, and how many cells move."""
    model = backbone(num_windows)
    size = rows * PATCH, columns * PATCH
    ids = torch.arange(rows * columns, dtype=torch.float32)
    tokens = torch.cat([torch.tensor([-1.0]), ids])[None, :, None]
    if num_windows == 1:
        return [], 0
    cut = model.embeddings.window_partition(tokens, *size)
    joined = model.window_unpartition(cut[:, 1:], *size)
    moved = int((joined.reshape(-1) != ids).sum())
    return cut[0, 1:, 0].int().tolist(), moved


def moves_through_the_model(rows, columns, num_windows):
    """Whether a change of one patch shows most in that patch's cell."""
    torch.manual_seed(0)
    model = backbone(num_windows)
    with torch.no_grad():
        for layer in model.encoder.layer:  # no mixing between cells
            layer.layer_scale1.lambda1.zero_()
        image = torch.randn(1, 3, rows * PATCH, columns * PATCH)
        changed = image.clone()
        row, column = 0, 2
        changed[..., row * PATCH : (row + 1) * PATCH,
                column * PATCH : (column + 1) * PATCH] += 5.0
        before, after = (model(x).feature_maps[0] for x in (image, changed))
    cell = int((after - before).abs().sum(1).flatten().argmax())
    return divmod(cell, columns), (row, column)


failed = False
for rows, columns in ((8, 8), (4, 8), (8, 4)):
    window, moved = look(rows, columns, 2)
    print(f'{rows} x {columns}: first window {window}, {moved} cells move')
    failed |= (moved == 0) != (rows == columns)
    for windows in (1, 2):
        found, expected = moves_through_the_model(rows, columns, windows)
        print(f'  {windows} windows a side: patch {expected} changed, cell '
              f'{found} of the feature map changes')
        is_right = windows == 1 or rows == columns
        failed |= (found == expected) != is_right
sys.exit('the behaviour has changed' if failed else 0)
P
"$work/env/bin/python" -W ignore "$work/run.py"
