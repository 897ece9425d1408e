"""Whole model, image to detections, against rfdetr."""

import pytest
import torch

pytest.importorskip('rfdetr', reason='the parity oracle is not installed')

from compare import END_TO_END, assert_stage, decode_upstreams_rows
from mmdet.structures import DetDataSample
from oracle import nested

pytestmark = pytest.mark.parity


def samples_for(images, sizes, original_sizes=None):
    """Meta data of a batch: sizes and original sizes are (h, w) pixels."""
    original_sizes = original_sizes or sizes
    return [
        DetDataSample(
            metainfo=dict(
                batch_input_shape=tuple(images.shape[-2:]),
                img_shape=size,
                ori_shape=original,
                scale_factor=(size[1] / original[1], size[0] / original[0]),
            )
        )
        for size, original in zip(sizes, original_sizes)
    ]


@torch.no_grad()
def compare_tensors(pair, images, batch, sizes):
    """Both models' raw outputs, queries in upstream's order."""
    theirs = pair.upstream(batch)
    samples = samples_for(images, sizes)
    outs = decode_upstreams_rows(
        pair.ours.bbox_head,
        pair.ours.extract_feat(images),
        samples,
        num_groups=1,
        theirs=theirs['enc_outputs'],
    )
    layers = [*theirs['aux_outputs'], theirs]
    for i, layer in enumerate(layers):
        assert_stage(
            outs.cls_scores[i], layer['pred_logits'][..., :-1], **END_TO_END
        )
        assert_stage(outs.bbox_preds[i], layer['pred_boxes'], **END_TO_END)
    return theirs


def test_square_and_rectangular_inputs(pair):
    images = pair.images(seed=3)
    sizes = [tuple(images.shape[-2:])] * len(images)
    compare_tensors(pair, images, nested(images), sizes)
    turned = images.transpose(2, 3).contiguous()
    divisor = pair.ours.backbone.patch_size * pair.ours.backbone.num_windows
    assert turned.shape[-1] % divisor == 0
    compare_tensors(
        pair, turned, nested(turned), [tuple(turned.shape[-2:])] * 2
    )


def test_padded_batch(pair):
    """Images of two sizes in one batch, padded with zeros."""
    height, width = pair.input_hw
    full, small = pair.images(seed=5)
    cut = small[:, : height - 3, : width - width // 3]
    batch = nested([full, cut])
    assert batch.mask.any()
    compare_tensors(
        pair, batch.tensors, batch, [(height, width), tuple(cut.shape[1:])]
    )


def test_padding_matters(pair):
    """The negative control: forgetting the mask must be noticed."""
    height, width = pair.input_hw
    full, small = pair.images(seed=5)
    batch = nested([full, small[:, : height - 3, : width - width // 3]])
    with pytest.raises(AssertionError):
        compare_tensors(pair, batch.tensors, batch, [(height, width)] * 2)


@torch.no_grad()
def test_post_processing_with_rescale(pair):
    from rfdetr.models.postprocess import PostProcess

    images = pair.images(seed=7)
    originals = [(48, 100), (300, 111)]
    samples = samples_for(images, [tuple(images.shape[-2:])] * 2, originals)
    max_per_img = 20  # more than queries: several classes of one query
    theirs = pair.upstream(nested(images))
    expected = PostProcess(num_select=max_per_img)(
        theirs, torch.tensor(originals)
    )
    head = pair.ours.bbox_head
    head.test_cfg['max_per_img'] = max_per_img
    logits, boxes = (
        theirs['pred_logits'][None, ..., :-1],
        theirs['pred_boxes'][None],
    )
    results = head.predict_by_feat(
        logits, boxes, [s.metainfo for s in samples], rescale=True
    )
    for ours, upstream in zip(results, expected):
        assert len(ours) == max_per_img
        assert (ours.labels == upstream['labels']).all()
        assert_stage(ours.scores, upstream['scores'])
        assert_stage(ours.bboxes, upstream['boxes'], atol=1e-4, rtol=1e-5)
    shifted = boxes + 0.01
    wrong = head.predict_by_feat(
        logits, shifted, [s.metainfo for s in samples], rescale=True
    )
    with pytest.raises(AssertionError):
        assert_stage(wrong[0].bboxes, expected[0]['boxes'])


@torch.no_grad()
def test_detections_from_images(pair):
    """mode='predict' on the whole model, H != W, original pixels."""
    from rfdetr.models.postprocess import PostProcess

    images = pair.images(seed=9)
    originals = [(48, 100), (300, 111)]
    samples = samples_for(images, [tuple(images.shape[-2:])] * 2, originals)
    head = pair.ours.bbox_head
    head.test_cfg['max_per_img'] = head.num_queries
    expected = PostProcess(num_select=head.num_queries)(
        pair.upstream(nested(images)), torch.tensor(originals)
    )
    results = pair.ours(images, samples, mode='predict')
    for ours, upstream in zip(results, expected):
        ours = ours.pred_instances
        assert_stage(ours.scores, upstream['scores'], **END_TO_END)
        order = torch.cdist(upstream['boxes'], ours.bboxes).argmin(dim=1)
        assert_stage(ours.bboxes[order], upstream['boxes'], atol=0.05, rtol=0)
