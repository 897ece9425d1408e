"""Keypoints of the preview model, from tokens to images.

Several classes with other numbers of keypoints, on H != W.
"""

import pytest
import torch

pytest.importorskip('rfdetr', reason='the parity oracle is not installed')

from compare import (
    END_TO_END,
    assert_stage,
    decode_upstreams_rows,
    selection_scores,
)
from oracle import NUM_KEYPOINTS, NUM_QUERIES, nested
from test_end_to_end_parity import samples_for
from test_stage_parity import assert_fails_when_perturbed

from rfdetr_mm.models.layers.decoder_memory import build_memory

pytestmark = pytest.mark.parity


@pytest.fixture(scope='session')
def recorded(any_pose_pair):
    """Inputs and outputs of upstream's modules on one batch."""
    calls = {}
    pair = any_pose_pair.train(False)
    backbone, transformer = (
        pair.upstream.backbone[0],
        pair.upstream.transformer,
    )
    modules = {
        'encoder': backbone.encoder,
        'projector': backbone.projector,
        'cross_attn_projector': backbone.cross_attn_projector,
        'queries': transformer.keypoint_query_initializer,
        'proposal_queries': transformer.keypoint_query_initializer_enc,
        'decoder': transformer.decoder,
    }

    def keep(name):
        def hook(module, args, kwargs, output):
            calls[name] = args, kwargs, output

        return hook

    handles = [
        module.register_forward_hook(keep(name), with_kwargs=True)
        for name, module in modules.items()
    ]
    with torch.no_grad():
        calls['out'] = pair.upstream(nested(pair.images()))
    for handle in handles:
        handle.remove()
    return calls


@torch.no_grad()
def test_projectors(pose_pair, recorded):
    neck = pose_pair.ours.neck

    def check():
        first, second = neck(recorded['encoder'][2])
        assert_stage(first, recorded['projector'][2][0])
        assert_stage(second, recorded['cross_attn_projector'][2][0])

    check()
    assert_fails_when_perturbed(
        neck, 'second.fusions.0.expand.conv.weight', check
    )


@torch.no_grad()
@pytest.mark.parametrize(
    ('theirs', 'ours'),
    [
        ('queries', 'keypoint_queries'),
        ('proposal_queries', 'proposal_keypoint_queries'),
    ],
)
def test_keypoint_queries(pose_pair, recorded, theirs, ours):
    module = getattr(pose_pair.ours.bbox_head, ours)
    args, _, expected = recorded[theirs]

    def check():
        assert_stage(module(*args), expected)

    check()
    for name in ('queries', 'fc1.bias', 'fc2.weight', 'out_proj.weight'):
        assert_fails_when_perturbed(module, name, check)


@torch.no_grad()
def test_decoder(pose_pair, recorded):
    """Fed upstream's queries, keypoint tokens, boxes and both memories."""
    decoder = pose_pair.ours.bbox_head.decoder
    args, kwargs, (hidden_states, _, keypoint_states, *_) = recorded['decoder']
    maps, keypoint_maps = (
        recorded[name][2] for name in ('projector', 'cross_attn_projector')
    )

    def check():
        queries, keypoints = decoder(
            args[0],
            kwargs['tgt_keypoints'],
            kwargs['refpoints_unsigmoid'],
            build_memory(maps),
            build_memory(keypoint_maps),
            num_groups=1,
        )
        assert_stage(queries, hidden_states)
        assert_stage(keypoints, keypoint_states)

    check()
    for name in (
        'keypoint_pos',
        'keypoint_layers.0.self_attn.in_proj_weight',
        'keypoint_layers.0.instance_norm.bias',
        'keypoint_layers.1.cross_attn.sampling_offsets.bias',
        'keypoint_layers.3.fc2.weight',
    ):
        assert_fails_when_perturbed(decoder, name, check)
    mask, decoder.attention_mask = decoder.attention_mask, None
    with pytest.raises(AssertionError):  # classes see each other
        check()
    decoder.attention_mask = mask


@torch.no_grad()
def compare_tensors(pair, images, batch, sizes):
    """Both models' raw outputs, queries in upstream's order."""
    theirs = pair.upstream(batch)
    head = pair.ours.bbox_head
    outs = decode_upstreams_rows(
        head,
        pair.ours.extract_feat(images),
        samples_for(images, sizes),
        num_groups=1,
        theirs=selection_scores(pair.upstream, theirs['enc_outputs']),
    )
    expected = [theirs, *theirs['aux_outputs'], theirs['enc_outputs']]
    for ours, upstream in zip(outs.layers().values(), expected, strict=True):
        assert_stage(
            ours.cls_scores, upstream['pred_logits'][..., :-1], **END_TO_END
        )
        assert_stage(ours.bbox_preds, upstream['pred_boxes'], **END_TO_END)
        assert_stage(
            head._padded(ours.keypoints),
            upstream['pred_keypoints'],
            **END_TO_END,
        )


def test_two_rectangles(pose_pair):
    images = pose_pair.images(seed=3)
    sizes = [tuple(images.shape[-2:])] * len(images)
    compare_tensors(pose_pair, images, nested(images), sizes)
    turned = images.transpose(2, 3).contiguous()
    sizes = [tuple(turned.shape[-2:])] * len(turned)
    compare_tensors(pose_pair, turned, nested(turned), sizes)


def test_padded_batch(pose_pair):
    """Images of two sizes in one batch, padded with zeros."""
    height, width = pose_pair.input_hw
    full, small = pose_pair.images(seed=5)
    cut = small[:, : height - 3, : width - width // 3]
    batch = nested([full, cut])
    assert batch.mask.any()
    sizes = [(height, width), tuple(cut.shape[1:])]
    compare_tensors(pose_pair, batch.tensors, batch, sizes)
    with pytest.raises(AssertionError):  # the negative control
        compare_tensors(pose_pair, batch.tensors, batch, [(height, width)] * 2)


@torch.no_grad()
def test_tensor_mode(pose_pair):
    """Logits, boxes and padded keypoints of all layers, without samples."""
    images = pose_pair.images(seed=4)
    cls_scores, bbox_preds, keypoints = pose_pair.ours(images, mode='tensor')
    shape = (4, len(images), NUM_QUERIES)
    assert cls_scores.shape == (*shape, len(NUM_KEYPOINTS))
    assert bbox_preds.shape == (*shape, 4)
    assert keypoints.shape == (
        *shape,
        len(NUM_KEYPOINTS) * max(NUM_KEYPOINTS),
        8,
    )


@torch.no_grad()
@pytest.mark.parametrize('alpha', [0.0, 0.2])
def test_detections(pose_pair, alpha, monkeypatch):
    """Fed the same outputs: scores, boxes, keypoints and precision."""
    from rfdetr.models.postprocess import PostProcess

    images = pose_pair.images(seed=6)
    outputs = pose_pair.upstream(nested(images))
    originals = [(50, 80), (33, 70)]
    post = PostProcess(
        num_select=20,
        num_keypoints_per_class=list(NUM_KEYPOINTS),
        trace_alpha=alpha,
    )
    expected = post(outputs, torch.tensor(originals))
    head = pose_pair.ours.bbox_head
    monkeypatch.setattr(
        head, 'test_cfg', dict(max_per_img=20, trace_alpha=alpha)
    )
    height, width = pose_pair.input_hw
    metas = [
        dict(
            img_shape=(height, width),
            ori_shape=(h, w),
            scale_factor=(width / w, height / h),
        )
        for h, w in originals
    ]
    found = head.predict_by_feat(
        outputs['pred_logits'][None, ..., :-1],
        outputs['pred_boxes'][None],
        outputs['pred_keypoints'][None],
        metas,
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.labels, theirs['labels'])
        assert set(ours.labels.tolist()) & {0, 2, 3}  # some with keypoints
        pixels = dict(atol=1e-4, rtol=1e-5)
        assert_stage(ours.scores, theirs['scores'])
        assert_stage(ours.bboxes, theirs['boxes'], **pixels)
        assert_stage(ours.keypoints, theirs['keypoints'][..., :2], **pixels)
        assert_stage(ours.keypoint_scores, theirs['keypoints'][..., 2])
        assert_stage(
            ours.keypoint_precision,
            theirs['keypoint_precision_cholesky'],
            equal_nan=True,
            atol=0.0,
            rtol=0.0,
        )
