#!/usr/bin/env bash
# kornia 0.9.0 (torch 2.14.1), seen on 2026-11-30; 0.8.2 did the same.
#
# AugmentationSequential moves images, masks and boxes together. In a mirror the
# image and the masks are mirrored exactly, but boxes given as 'bbox_xyxy', whose
# right and lower sides are exclusive (the whole image is 0, 0, width, height),
# land one pixel to the left of, or above, what they were drawn around: corners
# are mapped as if they were the centres of pixels, x to width - 1 - x. The box
# of the whole image leaves the image by a pixel. rfdetr 1.11.2 gives its boxes
# to kornia in this form.
#
# Seen here, an image 10 wide and 6 high, object at x 1 to 4, y 1 to 3:
#   RandomHorizontalFlip: mask 6 to 9, box 5 to 8; whole image -1 to 9
#   RandomVerticalFlip: mask 3 to 5, box 2 to 4; whole image -1 to 5
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/python" -m pip install -q torch==2.14.1 numpy==2.4.6 kornia==0.9.0
cat > "$work/run.py" <<'P'
import kornia.augmentation as K
import torch

image = torch.zeros(1, 3, 6, 10)
mask = torch.zeros(1, 1, 6, 10)
mask[..., 1:3, 1:4] = 1
boxes = torch.tensor([[[1.0, 1, 4, 3], [0, 0, 10, 6]]])
expected = {
    K.RandomHorizontalFlip: ((6, 9), (5, 8), (-1, 9)),
    K.RandomVerticalFlip: ((3, 5), (2, 4), (-1, 5)),
}
for kind, wanted in expected.items():
    both = K.AugmentationSequential(
        kind(p=1.0), data_keys=['input', 'bbox_xyxy', 'mask']
    )
    _, moved, mirrored = both(image, boxes, mask)
    is_sideways = kind is K.RandomHorizontalFlip
    along = mirrored[0, 0].any(dim=0 if is_sideways else 1).nonzero().flatten()
    sides = [0, 2] if is_sideways else [1, 3]
    found = (
        (int(along[0]), int(along[-1]) + 1),
        tuple(moved[0, 0, sides].int().tolist()),
        tuple(moved[0, 1, sides].int().tolist()),
    )
    print(f'{kind.__name__}: mask, box, whole image {found}')
    if found != wanted:
        raise SystemExit('the behaviour has changed')
P
"$work/env/bin/python" -W ignore "$work/run.py"
