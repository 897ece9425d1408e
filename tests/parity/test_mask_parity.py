"""Masks of the seven segmentation variants, from maps to images.

Box and class outputs are compared beside them, on H != W.
"""

import pytest
import torch

pytest.importorskip('rfdetr', reason='the parity oracle is not installed')

from compare import END_TO_END, assert_stage, decode_upstreams_rows
from oracle import nested
from test_end_to_end_parity import samples_for
from test_stage_parity import assert_fails_when_perturbed

pytestmark = pytest.mark.parity


@pytest.fixture(scope='session')
def recorded(any_seg_pair):
    """Inputs of upstream's mask head on one batch, and its outputs."""
    calls = {}
    pair = any_seg_pair.train(False)
    modules = {
        'projector': pair.upstream.backbone[0].projector,
        'transformer': pair.upstream.transformer,
    }

    def keep(name):
        def hook(module, args, output):
            calls[name] = output

        return hook

    handles = [
        module.register_forward_hook(keep(name))
        for name, module in modules.items()
    ]
    with torch.no_grad():
        calls['out'] = pair.upstream(nested(pair.images()))
    for handle in handles:
        handle.remove()
    return calls


@torch.no_grad()
def test_mask_branch(seg_pair, recorded):
    """Fed upstream's map, queries and proposals."""
    branch = seg_pair.ours.bbox_head.mask_branch
    hidden_states, _, embeddings = recorded['transformer'][:3]
    out = recorded['out']
    expected = [
        layer['pred_masks']
        for layer in (*out['aux_outputs'], out, out['enc_outputs'])
    ]
    image_h, image_w = seg_pair.input_hw

    def check():
        enlarged = branch.enlarge(recorded['projector'][0])
        masks = [
            *branch(enlarged, hidden_states),
            branch.of_proposals(enlarged, embeddings),
        ]
        for ours, theirs in zip(masks, expected, strict=True):
            assert theirs.shape[2:] == (image_h // 4, image_w // 4)
            assert_stage(ours.dense(), theirs)
            for image, queries in enumerate(([3, 0], [1])):
                assert_stage(
                    ours.select(image, torch.tensor(queries)),
                    theirs[image, queries],
                )
        last = branch.of_last_layer(enlarged, hidden_states)
        assert torch.equal(last.dense(), masks[-2].dense())

    check()
    for name in (
        'blocks.1.depthwise.weight',
        'blocks.0.pointwise.bias',
        'feature_proj.weight',
        'query_ffn.fc1.weight',
        'query_proj.bias',
        'bias',
    ):
        assert_fails_when_perturbed(branch, name, check)


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
        theirs=theirs['enc_outputs'],
    )
    layers = head._supervised_layers(outs)
    expected = [theirs, *theirs['aux_outputs'], theirs['enc_outputs']]
    for ours, upstream in zip(layers.values(), expected, strict=True):
        assert_stage(
            ours.cls_scores, upstream['pred_logits'][..., :-1], **END_TO_END
        )
        assert_stage(ours.bbox_preds, upstream['pred_boxes'], **END_TO_END)
        assert_stage(ours.masks.dense(), upstream['pred_masks'], **END_TO_END)


def test_two_rectangles(seg_pair):
    images = seg_pair.images(seed=3)
    sizes = [tuple(images.shape[-2:])] * len(images)
    compare_tensors(seg_pair, images, nested(images), sizes)
    turned = images.transpose(2, 3).contiguous()
    sizes = [tuple(turned.shape[-2:])] * len(turned)
    compare_tensors(seg_pair, turned, nested(turned), sizes)


def test_padded_batch(seg_pair):
    """Images of two sizes in one batch, padded with zeros."""
    height, width = seg_pair.input_hw
    full, small = seg_pair.images(seed=5)
    cut = small[:, : height - 3, : width - width // 3]
    batch = nested([full, cut])
    assert batch.mask.any()
    sizes = [(height, width), tuple(cut.shape[1:])]
    compare_tensors(seg_pair, batch.tensors, batch, sizes)
    with pytest.raises(AssertionError):  # the negative control
        compare_tensors(seg_pair, batch.tensors, batch, [(height, width)] * 2)


@torch.no_grad()
def test_tensor_mode(seg_pair):
    """Logits, boxes and masks of all layers, without samples."""
    images = seg_pair.images(seed=4)
    cls_scores, bbox_preds, mask_preds = seg_pair.ours(images, mode='tensor')
    head = seg_pair.ours.bbox_head
    num_layers = len(head.decoder.layers)
    shape = (num_layers, 2, head.num_queries)
    assert cls_scores.shape == (*shape, head.num_classes)
    assert bbox_preds.shape == (*shape, 4)
    height, width = seg_pair.input_hw
    assert mask_preds.shape == (*shape, height // 4, width // 4)
    outs = head._decode(seg_pair.ours.extract_feat(images), None, 1)
    layers = head._supervised_layers(outs)
    for i in range(num_layers):
        layer = layers['' if i == num_layers - 1 else f'd{i}.']
        assert torch.equal(mask_preds[i], layer.masks.dense())


ORIGINALS = [(48, 100), (300, 111)]  # smaller and larger than the input


def upstream_detections(outputs, max_per_img):
    from rfdetr.models.postprocess import PostProcess

    return PostProcess(num_select=max_per_img)(
        outputs, torch.tensor(ORIGINALS)
    )


@torch.no_grad()
def test_post_processing(seg_pair):
    """Masks of the original images' sizes, to the pixel."""
    images = seg_pair.images(seed=7)
    samples = samples_for(images, [tuple(images.shape[-2:])] * 2, ORIGINALS)
    max_per_img = 20  # more than queries: several classes of one query
    theirs = seg_pair.upstream(nested(images))
    expected = upstream_detections(theirs, max_per_img)
    head = seg_pair.ours.bbox_head
    head.test_cfg['max_per_img'] = max_per_img
    results = head.predict_by_feat(
        theirs['pred_logits'][None, ..., :-1],
        theirs['pred_boxes'][None],
        theirs['pred_masks'][None],
        [s.metainfo for s in samples],
    )
    for ours, upstream, (height, width) in zip(results, expected, ORIGINALS):
        assert (ours.labels == upstream['labels']).all()
        assert_stage(ours.scores, upstream['scores'])
        assert_stage(ours.bboxes, upstream['boxes'], atol=1e-4, rtol=1e-5)
        assert ours.masks.dtype == torch.bool
        assert ours.masks.shape == (max_per_img, height, width)
        assert ours.masks.any() and not ours.masks.all()
        assert torch.equal(ours.masks, upstream['masks'][:, 0])
    # the negative control: the masks of other queries
    wrong = head.predict_by_feat(
        theirs['pred_logits'][None, ..., :-1],
        theirs['pred_boxes'][None],
        theirs['pred_masks'][None].flip(2),
        [s.metainfo for s in samples],
    )
    assert not torch.equal(wrong[0].masks, expected[0]['masks'][:, 0])


@torch.no_grad()
def test_detections_from_images(seg_pair):
    """mode='predict' on the whole model, original pixels."""
    images = seg_pair.images(seed=9)
    samples = samples_for(images, [tuple(images.shape[-2:])] * 2, ORIGINALS)
    head = seg_pair.ours.bbox_head
    head.test_cfg['max_per_img'] = head.num_queries
    expected = upstream_detections(
        seg_pair.upstream(nested(images)), head.num_queries
    )
    results = seg_pair.ours(images, samples, mode='predict')
    for sample, upstream in zip(results, expected):
        ours = sample.pred_instances
        assert_stage(ours.scores, upstream['scores'], **END_TO_END)
        distance = torch.cdist(upstream['boxes'], ours.bboxes)
        order = distance.argmin(dim=1)
        assert_stage(ours.bboxes[order], upstream['boxes'], atol=0.05, rtol=0)
        differs = ours.masks[order] != upstream['masks'][:, 0]
        assert differs.float().mean() < 1e-4
