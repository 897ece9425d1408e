"""Every Apache variant at its own resolution, with its queries (slow)."""

import pytest
import torch

pytest.importorskip('rfdetr', reason='the parity oracle is not installed')

from compare import END_TO_END, assert_stage, decode_upstreams_rows
from mmdet.registry import MODELS
from oracle import (
    ALL_VARIANTS,
    build_upstream,
    convert,
    nested,
    our_config,
    upstream_config,
)

pytestmark = [pytest.mark.parity, pytest.mark.slow]

# Sides in pixels; the second one is not square and has grids of more than 50
# cells for Large, whose border proposals are invalid.
SIZES = {
    'nano': [(384, 384), (224, 544)],
    'small': [(512, 512), (352, 672)],
    'medium': [(576, 576), (416, 736)],
    'large': [(704, 704), (544, 864)],
    'base': [(560, 560), (280, 840)],
    'large-deprecated': [(560, 560), (280, 840)],
    'seg-nano': [(312, 312), (252, 372)],
    'seg-small': [(384, 384), (264, 504)],
    'seg-medium': [(432, 432), (312, 552)],
    'seg-large': [(504, 504), (384, 624)],
    'seg-xlarge': [(624, 624), (504, 744)],
    'seg-2xlarge': [(768, 768), (648, 888)],
    'seg-preview': [(432, 432), (312, 552)],
}
QUERIES = {
    'seg-nano': 100,
    'seg-small': 100,
    'seg-medium': 200,
    'seg-large': 200,
    'seg-preview': 200,
}


@pytest.fixture(scope='module', params=list(SIZES))
def models(request):
    variant = request.param
    assert variant in ALL_VARIANTS
    queries = QUERIES.get(variant, 300)
    upstream = build_upstream(upstream_config(variant, 90, queries)).eval()
    ours = MODELS.build(our_config(variant, 90, queries)).eval()
    # 91 rows without names would be taken for COCO's.
    names = [f'class {i}' for i in range(90)]
    ours.load_state_dict(convert(upstream.state_dict(), names))
    return variant, upstream, ours


@torch.no_grad()
@pytest.mark.parametrize('which', [0, 1], ids=['native', 'rectangle'])
def test_forward(models, which):
    variant, upstream, ours = models
    generator = torch.Generator().manual_seed(3)
    size = SIZES[variant][which]
    images = torch.randn(1, 3, *size, generator=generator)
    theirs = upstream(nested(images))
    outs = decode_upstreams_rows(
        ours.bbox_head,
        ours.extract_feat(images),
        None,
        1,
        theirs['enc_outputs'],
    )
    layers = [*theirs['aux_outputs'], theirs]
    for i, layer in enumerate(layers):
        assert_stage(
            outs.cls_scores[i], layer['pred_logits'][..., :-1], **END_TO_END
        )
        assert_stage(outs.bbox_preds[i], layer['pred_boxes'], **END_TO_END)
    if ours.bbox_head.task == 'instance segmentation':
        masks = ours.bbox_head._supervised_layers(outs)[''].masks.dense()
        assert masks.shape[2:] == (size[0] // 4, size[1] // 4)
        assert_stage(masks, theirs['pred_masks'], **END_TO_END)
