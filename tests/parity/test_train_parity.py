"""Train mode, 13 groups: outputs, losses and every gradient.

Targets lie in images with H != W, one image has no objects.
"""

import pytest
import torch

pytest.importorskip('rfdetr', reason='the parity oracle is not installed')

from compare import (
    END_TO_END,
    assert_stage,
    decode_upstreams_rows,
    gradient_errors,
)
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.structures import InstanceData
from oracle import NUM_CLASSES, convert, nested

pytestmark = pytest.mark.parity

# Ours to upstream's, each times upstream's weight.
TERMS = {
    'loss_cls': 'loss_ce',
    'loss_bbox': 'loss_bbox',
    'loss_iou': 'loss_giou',
}
GRADIENT_TOLERANCE = 1e-6
LOSS_TOLERANCE = 1e-5


def targets_for(images, counts, seed=0):
    """Random objects: upstream's targets and our data samples."""
    generator = torch.Generator().manual_seed(seed)
    height, width = images.shape[-2:]
    theirs, ours = [], []
    for count in counts:
        labels = torch.randint(NUM_CLASSES, (count,), generator=generator)
        centers = torch.rand(count, 2, generator=generator) * 0.6 + 0.2
        sizes = torch.rand(count, 2, generator=generator) * 0.3 + 0.05
        boxes = torch.cat([centers, sizes], dim=1).to(images.dtype)
        theirs.append(
            dict(
                labels=labels,
                boxes=boxes,
                orig_size=torch.tensor([height, width]),
            )
        )
        scale = torch.tensor([width, height] * 2)
        xyxy = bbox_cxcywh_to_xyxy(boxes)
        sample = DetDataSample(
            metainfo=dict(
                batch_input_shape=(height, width),
                img_shape=(height, width),
            )
        )
        sample.gt_instances = InstanceData(bboxes=xyxy * scale, labels=labels)
        ours.append(sample)
    return theirs, ours


def upstream_losses(pair, outputs, targets):
    """Upstream's weighted loss terms."""
    from rfdetr.config import TrainConfig
    from rfdetr.models import build_criterion_from_config

    criterion, _ = build_criterion_from_config(
        pair.upstream_config, TrainConfig(dataset_dir='.')
    )
    criterion.train()
    losses = criterion(outputs, targets)
    weights = criterion.weight_dict
    return {k: v * weights[k] for k, v in losses.items() if k in weights}, {
        k: v for k, v in losses.items() if k not in weights
    }


def expected_names(num_layers):
    """Our names of upstream's loss terms."""
    names = {}
    for ours, theirs in TERMS.items():
        names[ours] = theirs
        names[f'enc_{ours}'] = f'{theirs}_enc'
        for i in range(num_layers - 1):
            names[f'd{i}.{ours}'] = f'{theirs}_{i}'
    return names


def outputs_of(pair, outs):
    """Our head's outputs in upstream's form, for upstream's criterion."""
    # upstream's spare class: a column that can never fire
    layers = []
    scores = [*outs.cls_scores, outs.proposals.cls_scores]
    boxes = [*outs.bbox_preds, outs.proposals.bboxes_cxcywh_norm]
    for logits, bboxes in zip(scores, boxes):
        spare = torch.full_like(logits[..., :1], -20.0)
        layers.append(
            dict(
                pred_logits=torch.cat([logits, spare], dim=-1),
                pred_boxes=bboxes,
            )
        )
    return dict(layers[-2], aux_outputs=layers[:-2], enc_outputs=layers[-1])


def run_step(pair, dtype):
    """One forward and backward of both models on the same batch."""
    pair.train(True)
    images = pair.images(seed=11, bs=3).to(dtype)
    theirs, samples = targets_for(images, counts=(3, 0, 5))
    head = pair.ours.bbox_head

    pair.upstream.zero_grad()
    outputs = pair.upstream(nested(images))
    terms, logged = upstream_losses(pair, outputs, theirs)
    sum(terms.values()).backward()
    grads = {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in pair.upstream.named_parameters()
    }

    pair.ours.zero_grad()
    outs = decode_upstreams_rows(
        head,
        pair.ours.extract_feat(images),
        samples,
        head.num_groups,
        outputs['enc_outputs'],
    )
    losses = head.loss_by_feat(
        outs,
        [s.gt_instances for s in samples],
        [s.metainfo for s in samples],
    )
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    result = dict(
        pair=pair,
        outputs=outputs,
        terms=terms,
        logged=logged,
        their_grads=convert({**pair.upstream.state_dict(), **grads}),
        outs=outs,
        losses=losses,
        our_grads={n: p.grad for n, p in pair.ours.named_parameters()},
        targets=theirs,
    )
    pair.upstream.zero_grad()
    pair.ours.zero_grad()
    return result


@pytest.fixture(scope='session')
def step(any_pair):
    return run_step(any_pair, torch.float32)


@pytest.fixture(scope='session')
def exact_step(any_pair):
    """The step in float64.

    In float32 both sides differ by their rounding alone where a sampling
    point crosses into the next cell or a ReLU flips: single gradients then
    jump by up to 3e-3 of their norm, with the number of threads.
    """
    any_pair.upstream.double(), any_pair.ours.double()
    yield run_step(any_pair, torch.float64)
    any_pair.upstream.float(), any_pair.ours.float()


def test_outputs_of_all_groups(step):
    outputs, outs = step['outputs'], step['outs']
    assert outs.num_groups == 13
    layers = [*outputs['aux_outputs'], outputs]
    for i, layer in enumerate(layers):
        assert_stage(
            outs.cls_scores[i], layer['pred_logits'][..., :-1], **END_TO_END
        )
        assert_stage(outs.bbox_preds[i], layer['pred_boxes'], **END_TO_END)


def test_groups_differ(step):
    """The negative control: group 1 must not pass for group 0."""
    queries = step['outs'].cls_scores.shape[2] // 13
    scores = step['outputs']['pred_logits'][..., :-1]
    with pytest.raises(AssertionError):
        assert_stage(
            step['outs'].cls_scores[-1][:, queries : 2 * queries],
            scores[:, :queries],
            **END_TO_END,
        )


def test_every_loss_term(step):
    """Fed the same outputs, every term is the same."""
    pair = step['pair']
    terms, logged = upstream_losses(
        pair, outputs_of(pair, step['outs']), step['targets']
    )
    losses = step['losses']
    names = expected_names(len(pair.ours.bbox_head.decoder.layers))
    assert set(names) == {k for k in losses if 'loss' in k}
    assert set(names.values()) == set(terms)
    for ours, theirs in names.items():
        torch.testing.assert_close(
            losses[ours], terms[theirs], rtol=LOSS_TOLERANCE, atol=0.0
        )
    for name in ('class_error', 'cardinality_error'):
        torch.testing.assert_close(
            losses[name], logged[name].to(losses[name]), rtol=1e-5, atol=1e-5
        )


def test_total_is_upstreams_weighted_total(step):
    ours = sum(v for k, v in step['losses'].items() if 'loss' in k)
    theirs = sum(step['terms'].values())
    torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=0.0)


def test_gradients_of_every_parameter(exact_step):
    errors = gradient_errors(
        {
            name: torch.zeros_like(exact_step['their_grads'][name])
            if grad is None
            else grad
            for name, grad in exact_step['our_grads'].items()
        },
        exact_step['their_grads'],
    )
    frozen = {
        name
        for name, p in exact_step['pair'].ours.named_parameters()
        if not p.requires_grad
    }
    assert all(exact_step['their_grads'][name].norm() == 0 for name in frozen)
    assert set(errors) == set(exact_step['our_grads'])
    worst = max(errors, key=errors.get)
    print('worst gradient', worst, errors[worst])
    assert errors[worst] <= GRADIENT_TOLERANCE, (worst, errors[worst])


def test_gradients_notice_one_weight(exact_step):
    """The negative control of the gradient comparison."""
    name = 'neck.fusions.0.expand.conv.weight'
    wrong = {name: exact_step['our_grads'][name].clone()}
    wrong[name].view(-1)[0] += 0.01 * wrong[name].norm()
    errors = gradient_errors(wrong, {name: exact_step['their_grads'][name]})
    assert errors[name] > GRADIENT_TOLERANCE


def test_frozen_tensors_of_base(step):
    """Kept but never run: mask_token and the blocks after the last tap."""
    frozen = [
        name
        for name, p in step['pair'].ours.named_parameters()
        if not p.requires_grad
    ]
    last = step['pair'].ours.backbone.out_indices[-1]
    assert len(frozen) == 1 + 18 * (11 - last)
