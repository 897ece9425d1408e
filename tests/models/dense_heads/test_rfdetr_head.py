import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from rfdetr_mm.models.task_modules.batch_objects import BatchObjects

DIMS, QUERIES, GROUPS, CLASSES = 32, 6, 3, 4
COSTS = [
    dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
    dict(type='FocalLogitCost', weight=2.0),
    dict(type='IoUCost', iou_mode='giou', weight=2.0),
]


def build(num_levels=1, **kwargs):
    torch.manual_seed(0)
    config = dict(
        type='RFDETRHead',
        num_classes=CLASSES,
        embed_dims=DIMS,
        num_queries=QUERIES,
        num_groups=GROUPS,
        decoder=dict(
            num_layers=2,
            num_levels=num_levels,
            self_attn_num_heads=2,
            cross_attn_num_heads=4,
            num_points=2,
            feedforward_channels=48,
        ),
        train_cfg=dict(
            assigner=dict(type='GroupHungarianAssigner', match_costs=COSTS)
        ),
        test_cfg=dict(max_per_img=QUERIES),
    )
    head = MODELS.build({**config, **kwargs})
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return head


def feats(num_levels=1, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(4, 6), (2, 3)][:num_levels]
    return [torch.randn(2, DIMS, *s, generator=generator) for s in shapes]


def samples(counts=(3, 0), input_hw=(64, 96), originals=None):
    generator = torch.Generator().manual_seed(2)
    height, width = input_hw
    out = []
    for i, count in enumerate(counts):
        original = (originals or [input_hw] * len(counts))[i]
        sample = DetDataSample(
            metainfo=dict(
                batch_input_shape=input_hw,
                img_shape=input_hw,
                ori_shape=original,
                scale_factor=(width / original[1], height / original[0]),
            )
        )
        corners = torch.rand(count, 2, generator=generator) * 0.5
        sizes = torch.rand(count, 2, generator=generator) * 0.4 + 0.05
        boxes = torch.cat([corners, corners + sizes], dim=1)
        sample.gt_instances = InstanceData(
            bboxes=boxes * torch.tensor([width, height] * 2),
            labels=torch.randint(CLASSES, (count,), generator=generator),
        )
        out.append(sample)
    return out


@pytest.mark.parametrize('num_levels', [1, 2])
@pytest.mark.parametrize('training', [True, False])
def test_shapes(num_levels, training):
    head = build(num_levels).train(training)
    cls_scores, bbox_preds = head(feats(num_levels), samples())
    total = QUERIES * (GROUPS if training else 1)
    assert cls_scores.shape == (2, 2, total, CLASSES)
    assert bbox_preds.shape == (2, 2, total, 4)


def test_first_group_in_training_is_the_group_of_evaluation():
    head = build()
    many = head.train()(feats())
    one = head.eval()(feats())
    for trained, evaluated in zip(many, one):
        torch.testing.assert_close(trained[:, :, :QUERIES], evaluated)


def test_samples_may_be_missing():
    head = build().eval()
    torch.testing.assert_close(head(feats()), head(feats(), samples()))


def test_grid_with_fewer_cells_than_queries():
    head = build(num_queries=100).train()
    cls_scores, _ = head(feats())
    assert cls_scores.shape[2] == GROUPS * 24
    losses = head.loss(feats(), samples())
    assert all(torch.isfinite(v) for v in losses.values())


def test_names_of_the_losses():
    losses = build().train().loss(feats(), samples())
    terms = ['loss_cls', 'loss_bbox', 'loss_iou']
    assert set(losses) == {
        f'{prefix}{term}' for prefix in ('', 'd0.', 'enc_') for term in terms
    } | {'class_error', 'cardinality_error'}


@pytest.mark.parametrize('counts', [(0, 0), (3, 0), (2, 9)])
def test_losses_are_finite_and_reach_every_parameter(counts):
    """No objects, and more objects (9) than queries (6), are no exception."""
    head = build().train()
    losses = head.loss(feats(), samples(counts))
    total = sum(v for k, v in losses.items() if 'loss' in k)
    total.backward()
    assert torch.isfinite(total)
    without = [n for n, p in head.named_parameters() if p.grad is None]
    assert without == []
    if counts == (0, 0):
        assert losses['loss_bbox'] == losses['loss_iou'] == 0
        assert losses['loss_cls'] > 0


def test_divisor_counts_objects_and_groups_not_matches():
    """9 objects for 6 queries: 6 matches a group, but a divisor of 9."""
    head = build().train()
    outs = head._decode(feats(), samples(), GROUPS)
    targets = samples((9, 0))
    gts = [s.gt_instances for s in targets]
    metas = [s.metainfo for s in targets]
    losses = head.loss_by_feat(outs, gts, metas)
    last = outs.layers()['']
    objects = BatchObjects.of(gts, metas)
    matches = head._match([last], objects, metas, GROUPS)
    assert matches.counts == [6 * GROUPS, 0]
    args = ([last], matches, objects)
    expected = head._losses_of_layers(*args, avg_factor=9 * GROUPS)
    assert losses['loss_bbox'] == expected['loss_bbox']
    other = head._losses_of_layers(*args, avg_factor=6 * GROUPS)
    assert losses['loss_bbox'] < other['loss_bbox']


@pytest.mark.parametrize('counts', [(3, 0), (2, 5)])
def test_layers_together_have_the_losses_of_each_alone(counts):
    head, targets = build().train(), samples(counts)
    outs = head._decode(feats(), targets, GROUPS)
    metas = [s.metainfo for s in targets]
    objects = BatchObjects.of([s.gt_instances for s in targets], metas)
    layers = list(outs.layers().values())

    def losses(layers):
        matches = head._match(layers, objects, metas, GROUPS)
        return head._losses_of_layers(layers, matches, objects, 5.0)

    together = losses(layers)
    assert len(layers) == 3
    for i, layer in enumerate(layers):
        for name, (alone,) in losses([layer]).items():
            torch.testing.assert_close(together[name][i], alone)


class OnGpu(torch.Tensor):
    """Takes the way of a GPU."""

    is_cuda = True


@pytest.mark.parametrize('counts', [(0, 0), (3, 0), (2, 5), (2, 9)])
def test_matching_as_on_a_gpu_gives_the_same_losses(monkeypatch, counts):
    """With more objects (9) than queries (6), too."""
    head, targets = build().train(), samples(counts)
    expected = head.loss(feats(), targets)
    ways = []
    match_at_once = head.assigner.match_at_once
    monkeypatch.setattr(
        head.assigner,
        'match_at_once',
        lambda *args: ways.append(True) or match_at_once(*args),
    )
    of = BatchObjects.of

    def on_gpu(*args):
        objects = of(*args)
        objects.labels = objects.labels.as_subclass(OnGpu)
        return objects

    monkeypatch.setattr(BatchObjects, 'of', on_gpu)
    losses = head.loss(feats(), targets)
    assert ways
    assert losses.keys() == expected.keys()
    for name, value in losses.items():
        value = value.as_subclass(torch.Tensor)
        torch.testing.assert_close(value, expected[name])


def test_loss_in_evaluation_mode_uses_one_group():
    head = build().eval()
    losses = head.loss(feats(), samples())
    outs = head._decode(feats(), samples(), num_groups=1)
    targets = samples()
    expected = head.loss_by_feat(
        outs,
        [s.gt_instances for s in targets],
        [s.metainfo for s in targets],
    )
    assert losses == expected


def test_logged_errors_by_hand():
    from rfdetr_mm.models.dense_heads.match_errors import match_errors

    scores = torch.full((2, 3, 2), -5.0)
    scores[0, 0, 0] = scores[0, 1, 1] = 5.0  # two confident queries
    errors = match_errors(
        scores,
        torch.tensor([0, 1]),
        torch.tensor([0, 0]),
        [2, 0],
    )
    assert errors['class_error'] == 50.0  # the second one is of class 1
    assert errors['cardinality_error'] == 0.0
    none = match_errors(
        scores,
        torch.empty(0).long(),
        torch.empty(0).long(),
        [0, 5],
    )
    assert none['class_error'] == 100.0
    assert none['cardinality_error'] == (2 + 5) / 2


def test_detections_by_hand():
    """Best (query, class) pairs, pixels of the original image, clamped."""
    head = build(num_classes=2, test_cfg=dict(max_per_img=3))
    logits = torch.tensor([[[[0.0, 3.0], [2.0, 1.0]]]])
    boxes = torch.tensor([[[[0.5, 0.5, 0.5, 0.25], [0.9, 0.5, 0.4, 1.2]]]])
    meta = dict(img_shape=(100, 200), scale_factor=(2.0, 0.5))
    (result,) = head.predict_by_feat(logits, boxes, [meta], rescale=True)
    assert result.labels.tolist() == [1, 0, 1]
    torch.testing.assert_close(
        result.scores, torch.tensor([3.0, 2.0, 1.0]).sigmoid()
    )
    torch.testing.assert_close(
        result.bboxes,
        torch.tensor(
            [
                [50 / 2, 37.5 / 0.5, 150 / 2, 62.5 / 0.5],
                [140 / 2, 0, 200 / 2, 100 / 0.5],
                [140 / 2, 0, 200 / 2, 100 / 0.5],
            ]
        ),
    )
    (in_input,) = head.predict_by_feat(logits, boxes, [meta], rescale=False)
    assert in_input.bboxes[0].tolist() == [50, 37.5, 150, 62.5]


def test_equal_scores_keep_the_order_of_queries():
    head = build(num_classes=2, test_cfg=dict(max_per_img=4))
    boxes = torch.rand(1, 1, 3, 4)
    meta = dict(img_shape=(10, 10), scale_factor=(1.0, 1.0))
    (result,) = head.predict_by_feat(torch.zeros(1, 1, 3, 2), boxes, [meta])
    assert result.labels.tolist() == [0, 1, 0, 1]


def test_predict_uses_one_group_also_in_training_mode():
    head = build()
    trained = head.train().predict(feats(), samples())
    evaluated = head.eval().predict(feats(), samples())
    for a, b in zip(trained, evaluated):
        torch.testing.assert_close(a.bboxes, b.bboxes)


def test_loss_and_predict_is_both():
    head = build().train()
    losses, detections = head.loss_and_predict(feats(), samples())
    assert losses == head.loss(feats(), samples())
    expected = head.predict(feats(), samples(), rescale=False)
    for a, b in zip(detections, expected):
        torch.testing.assert_close(a.bboxes, b.bboxes)


def test_groups_and_queries_of_a_larger_checkpoint_are_cut():
    large, small = build(), build(num_groups=2, num_queries=4)
    small.load_state_dict(large.state_dict())
    for name in ('query_embedding', 'query_box_deltas'):
        assert torch.equal(getattr(small, name), getattr(large, name)[:2, :4])
    assert torch.equal(
        small.query_selector.proj.weight, large.query_selector.proj.weight[:2]
    )
    few = large.eval()(feats())[0]
    assert few.shape[2] == QUERIES


def test_more_queries_than_the_checkpoint_warn_and_keep_their_values():
    small, large = build(num_queries=4), build()
    own = large.query_embedding.detach().clone()
    with pytest.warns(UserWarning, match='4 queries .* num_queries=6; the 2'):
        large.load_state_dict(small.state_dict())
    assert torch.equal(large.query_embedding[:, :4], small.query_embedding)
    assert torch.equal(large.query_embedding[:, 4:], own[:, 4:])


def test_other_number_of_classes_is_refused_before_anything_is_loaded():
    head, other = build(), build(num_classes=7)
    before = {k: v.clone() for k, v in head.state_dict().items()}
    other.decoder.norm.weight.data += 1
    with pytest.raises(ValueError, match='7 classes .* num_classes=4'):
        head.load_state_dict(other.state_dict())
    assert all(torch.equal(v, before[k]) for k, v in head.state_dict().items())


def test_wrong_number_of_maps():
    with pytest.raises(ValueError, match='decodes 2 maps .* the neck gave 1'):
        build(num_levels=2)(feats(num_levels=1))


def test_losses_without_assigner():
    with pytest.raises(ValueError, match='train_cfg=dict'):
        build(train_cfg=None).train().loss(feats(), samples())


def test_works_under_a_stock_single_stage_detector():
    """Under ResNet and ChannelMapper the loss falls in a few steps.

    As many queries as cells: else the choice of cells jumps about.
    """
    cells = 3 * 5
    detector = MODELS.build(
        dict(
            type='SingleStageDetector',
            backbone=dict(type='ResNet', depth=18, out_indices=(3,)),
            neck=dict(
                type='ChannelMapper',
                in_channels=[512],
                out_channels=DIMS,
                kernel_size=1,
                num_outs=1,
            ),
            bbox_head=dict(
                type='RFDETRHead',
                num_classes=CLASSES,
                embed_dims=DIMS,
                num_queries=cells,
                num_groups=GROUPS,
                decoder=dict(
                    num_layers=2, self_attn_num_heads=2, cross_attn_num_heads=4
                ),
            ),
            train_cfg=dict(
                assigner=dict(type='GroupHungarianAssigner', match_costs=COSTS)
            ),
            test_cfg=dict(max_per_img=5),
        )
    )
    detector.train()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=1e-3)
    images = torch.randn(2, 3, 96, 160)
    targets = samples((3, 1), (96, 160))
    totals = []
    for _ in range(6):
        losses = detector.loss(images, targets)
        total = sum(v for k, v in losses.items() if 'loss' in k)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < totals[0]
    detector.eval()
    result = detector(images, targets, mode='predict')[0].pred_instances
    assert len(result) == 5
    raw = detector(images, mode='tensor')
    assert [tuple(x.shape) for x in raw] == [
        (2, 2, cells, CLASSES),
        (2, 2, cells, 4),
    ]
