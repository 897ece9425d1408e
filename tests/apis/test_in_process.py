"""The network of a detector as a function gives what the detector gives."""

import pytest
import torch

from rfdetr_mm.apis.in_process import RawDetector
from tests.small_detector import build

IMAGES = (2, 3, 64, 96)


def small(num_layers, has_masks):
    options = {'bbox_head.decoder.num_layers': num_layers}
    if has_masks:
        options['bbox_head.type'] = 'RFDETRInsHead'
    detector, _ = build(options)
    return detector.eval()


@pytest.mark.parametrize('has_masks', [False, True])
@pytest.mark.parametrize(
    'num_layers, num_run', [(0, None), (1, None), (2, None), (2, 0), (2, 1)]
)
@torch.no_grad()
def test_outputs_are_those_of_the_last_layer(num_layers, num_run, has_masks):
    detector = small(num_layers, has_masks)
    if num_run is not None:
        detector.bbox_head.test_cfg = dict(num_layers=num_run)
    images = torch.randn(IMAGES)

    boxes, logits, *masks = RawDetector(detector)(images)

    expected = [x[-1] for x in detector(images, mode='tensor')]
    assert len(masks) == has_masks
    for got, wanted in zip((logits, boxes, *masks), expected):
        assert torch.equal(got, wanted)


@pytest.mark.parametrize('num_layers', [0, 1])
@torch.no_grad()
def test_predict_takes_the_same_outputs(num_layers):
    """Masks without a decoder layer come from the proposals."""
    detector = small(num_layers, has_masks=True)
    feats = detector.extract_feat(torch.randn(IMAGES))
    logits, boxes, masks = detector.bbox_head.raw_outputs(feats)
    meta = dict(img_shape=(64, 96), ori_shape=(64, 96))
    outs = (x.unsqueeze(0) for x in (logits, boxes, masks))

    expected = detector.bbox_head.predict_by_feat(*outs, [meta] * 2, False)
    got = detector.bbox_head._detect(
        detector.bbox_head._decode(feats, None, 1), [meta] * 2, False
    )
    for a, b in zip(got, expected):
        assert torch.equal(a.scores, b.scores)
        assert torch.equal(a.masks, b.masks)
