"""Every variant's graph, at its smallest size, beside PyTorch."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from small_export import CONFIGS, build, export_to, images, run

# Patch size times windows, and a wide image of such squares
SIZES = {
    'nano': (64, 96),
    'small': (64, 96),
    'medium': (64, 96),
    'large': (64, 96),
    'base': (56, 112),
    'large-deprecated': (56, 112),
    'xlarge': (80, 100),
    '2xlarge': (80, 120),
}
SEG_SIZES = dict.fromkeys(
    ('small', 'medium', 'large', 'xlarge', '2xlarge', 'preview'), (48, 96)
)
SEG_SIZES['nano'] = (48, 60)
CASES = [('rfdetr/rfdetr', *item) for item in SIZES.items()]
CASES += [('rfdetr_seg/rfdetr-seg', *item) for item in SEG_SIZES.items()]


@pytest.mark.slow
@pytest.mark.parametrize(('family', 'variant', 'hw'), CASES)
def test_variant(tmp_path, family, variant, hw):
    cfg = Config.fromfile(CONFIGS / f'{family}_{variant}_coco.py')
    head = cfg.model.bbox_head
    head.num_classes, head.num_queries = 3, 16
    # More would let the scores of 12 blocks grow beyond any difference.
    model = build(cfg, std=0.02)
    file, _ = export_to(
        tmp_path, cfg, model, input_size=hw, layout='raw', dynamic_batch=True
    )
    x = images(3, hw)
    found = run(file, x)
    with torch.no_grad():
        scores, boxes, *masks = (
            output[-1].numpy() for output in model(x, mode='tensor')
        )
    # Of the image's side, and of logits
    assert np.abs(found['dets'] - boxes).max() * max(hw) < 0.05
    assert np.abs(found['labels'][..., :-1] - scores).max() < 1e-3
    if masks:
        same = (found['masks'] > 0) == (masks[0] > 0)
        assert same.mean() > 0.999
