import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from rfdetr_mm.errors import InputError

DIMS, QUERIES, GROUPS = 32, 6, 3
SCHEMA = (3, 0, 2)  # keypoints of the classes
LARGEST, TOTAL = 3, 5
COSTS = [
    dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
    dict(type='FocalLogitCost', weight=2.0),
    dict(type='IoUCost', iou_mode='giou', weight=2.0),
    dict(type='KeypointL1Cost'),
    dict(type='KeypointFindableCost'),
    dict(type='KeypointVisibleCost'),
    dict(type='KeypointNLLCost'),
]
INPUT_HW = (64, 96)
TERMS = (
    *('loss_cls', 'loss_bbox', 'loss_iou', 'loss_keypoint_l1'),
    *('loss_keypoint_findable', 'loss_keypoint_visible', 'loss_keypoint_nll'),
)


def build(type_='RFDETRPoseHead', num_layers=2, **kwargs):
    torch.manual_seed(0)
    config = dict(
        type=type_,
        num_classes=len(SCHEMA),
        num_keypoints=SCHEMA,
        embed_dims=DIMS,
        num_queries=QUERIES,
        num_groups=GROUPS,
        decoder=dict(
            num_layers=num_layers,
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
    config = {**config, **kwargs}
    if type_ != 'RFDETRPoseHead':
        del config['num_keypoints']
    head = MODELS.build(config)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return head


def feats(num_maps=2, seed=1):
    """Stride 16; the second is for the keypoints."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(2, DIMS, 4, 6, generator=generator)
        for _ in range(num_maps)
    ]


def samples(counts=(3, 0), img_hw=INPUT_HW, originals=None):
    generator = torch.Generator().manual_seed(2)
    height, width = img_hw
    size = torch.tensor([width, height])
    out = []
    for i, count in enumerate(counts):
        original = (originals or [img_hw] * len(counts))[i]
        sample = DetDataSample(
            metainfo=dict(
                batch_input_shape=INPUT_HW,
                img_shape=img_hw,
                ori_shape=original,
                scale_factor=(width / original[1], height / original[0]),
            )
        )
        corners = torch.rand(count, 2, generator=generator) * 0.5
        sizes = torch.rand(count, 2, generator=generator) * 0.4 + 0.05
        places = torch.rand(count, LARGEST, 2, generator=generator)
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corners, corners + sizes], 1) * size.repeat(2),
            labels=torch.randint(len(SCHEMA), (count,), generator=generator),
            keypoints=torch.cat(
                [
                    places * size,
                    torch.randint(
                        3, (count, LARGEST, 1), generator=generator
                    ).float(),
                ],
                dim=-1,
            ),
        )
        out.append(sample)
    return out


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('num_maps', [1, 2])
def test_shapes(training, num_maps):
    head = build().train(training)
    cls_scores, bbox_preds, keypoints = head(feats(num_maps), samples())
    total = QUERIES * (GROUPS if training else 1)
    assert cls_scores.shape == (2, 2, total, len(SCHEMA))
    assert bbox_preds.shape == (2, 2, total, 4)
    padded = keypoints.view(2, 2, total, len(SCHEMA), LARGEST, 8)
    assert (padded[..., 1, :, :] == 0).all()  # a class without keypoints
    assert (padded[..., 2, 2, :] == 0).all()
    assert (padded[..., 0, :, :] != 0).all()


def test_own_maps_of_the_keypoints():
    """They change keypoints; boxes see the others alone."""
    head = build(num_layers=1).eval()
    first, second = feats()
    with torch.no_grad():
        # Nothing comes back from keypoints to instances.
        head.decoder.keypoint_layers[0].instance_scale.zero_()
    _, boxes, keypoints = head([first, second])
    _, same, others = head([first, 2 * second])
    assert torch.equal(boxes, same)
    assert (keypoints - others).abs().max() > 1e-3
    shared, once = head([first, first]), head([first])
    assert all(torch.equal(a, b) for a, b in zip(shared, once))


def test_maps_of_other_sizes_are_refused():
    first, second = feats()
    with pytest.raises(InputError, match='same scale_factors'):
        build()([first, second[..., :5]])
    with pytest.raises(InputError, match='decodes 1 maps .* gave 3'):
        build()([first, first, second])


def test_names_of_the_losses():
    losses = build().train().loss(feats(), samples())
    assert set(losses) == {
        f'{prefix}{term}' for prefix in ('', 'd0.', 'enc_') for term in TERMS
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
        assert losses['loss_keypoint_l1'] == losses['enc_loss_keypoint_nll']


def test_a_nan_in_one_keypoint_spoils_nothing_else():
    """Its row of the last layer: weights of the others get gradients."""
    head = build().train()
    with torch.no_grad():
        head.keypoint_branch.layers[-1].bias[2] = torch.nan  # findable
    losses = head.loss(feats(), samples())
    total = sum(v for k, v in losses.items() if 'loss' in k)
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(head.reg_branch.layers[-1].weight.grad).all()
    assert torch.isfinite(head.query_embedding.grad).all()


def test_works_under_resnet_and_mmdets_neck():
    """ResNet-50 and ChannelMapper, in mmdet's own detector: it learns.

    As many queries as cells: else the choice of cells jumps about.
    """
    torch.manual_seed(0)
    detector = MODELS.build(
        dict(
            type='SingleStageDetector',
            backbone=dict(type='ResNet', depth=50, out_indices=(3,)),
            neck=dict(
                type='ChannelMapper',
                in_channels=[2048],
                out_channels=DIMS,
                kernel_size=1,
                num_outs=1,
            ),
            bbox_head=dict(
                type='RFDETRPoseHead',
                num_classes=len(SCHEMA),
                num_keypoints=SCHEMA,
                embed_dims=DIMS,
                num_queries=3 * 5,
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
        totals.append(losses['loss_keypoint_l1'].item())
        optimizer.zero_grad()
        sum(v for k, v in losses.items() if 'loss' in k).backward()
        optimizer.step()
    assert totals[-1] < totals[0]
    found = detector.eval()(images, targets, mode='predict')[0].pred_instances
    assert found.keypoints.shape == (5, LARGEST, 2)
    assert found.keypoint_scores.shape == (5, LARGEST)


def test_keypoints_vote_for_their_class():
    head = build(num_layers=1).eval()
    before, _, keypoints = head(feats())
    with torch.no_grad():
        head.keypoint_branch.layers[-1].bias[7] += 1.0
    after = head(feats())[0]
    # 3 keypoints of class 0, none of class 1, 2 of class 2
    expected = torch.tensor([3.0, 0.0, 2.0])
    torch.testing.assert_close(after - before, expected.expand_as(before))


def test_classes_do_not_see_each_others_keypoints():
    head = build(num_layers=1).eval()
    keypoints = head(feats())[2].unflatten(3, (len(SCHEMA), LARGEST))
    with torch.no_grad():
        head.keypoint_queries.queries[3:] += 1.0  # of class 2
    changed = head(feats())[2].unflatten(3, (len(SCHEMA), LARGEST))
    assert torch.equal(keypoints[..., 0, :, :], changed[..., 0, :, :])
    assert (keypoints - changed)[..., 2, :2, :].abs().max() > 1e-4


def test_without_decoder_layers_the_proposals_are_detected():
    head = build(test_cfg=dict(max_per_img=4, num_layers=0)).eval()
    cls_scores, _, keypoints = head(feats())
    assert cls_scores.shape[0] == keypoints.shape[0] == 1
    (first, second) = head.predict(feats(), samples())
    assert first.keypoints.shape == (4, LARGEST, 2)


def test_detections_in_pixels_of_the_original():
    """Keypoints lie where the box has them, scaled with the image."""
    head = build(test_cfg=dict(max_per_img=QUERIES * 3)).eval()
    small, large = (
        head.predict(feats(), samples((1, 1), originals=[hw] * 2))[0]
        for hw in (INPUT_HW, (128, 288))
    )
    scale = torch.tensor([3.0, 2.0])
    torch.testing.assert_close(large.keypoints, small.keypoints * scale)
    assert torch.equal(large.scores, small.scores)
    for label, count in enumerate(SCHEMA):
        rows = small.labels == label
        assert rows.any()
        assert (small.keypoint_scores[rows, :count] > 0).all()
        assert (small.keypoint_scores[rows, count:] == 0).all()
        assert (small.keypoints[rows, count:] == 0).all()
        precision = small.keypoint_precision[rows].isnan()
        assert precision[:, count:].all() and not precision[:, :count].any()


def test_uncertain_keypoints_lower_the_score():
    head = build().eval()
    sure, unsure = [], []
    for shift, found in ((2.0, sure), (-2.0, unsure)):
        with torch.no_grad():
            head.keypoint_branch.layers[-1].bias[[4, 6]] = shift
        found += head.predict(feats(), samples())
    for a, b in zip(sure, unsure):
        has_keypoints = torch.tensor(SCHEMA)[a.labels] > 0
        assert has_keypoints.any() and not has_keypoints.all()
        assert torch.equal(a.labels, b.labels)
        assert (a.scores > b.scores)[has_keypoints].all()
        assert torch.equal(a.scores[~has_keypoints], b.scores[~has_keypoints])


def test_loss_and_predict_agrees_with_both():
    head = build().train()
    losses, found = head.loss_and_predict(feats(), samples())
    for name, value in head.loss(feats(), samples()).items():
        torch.testing.assert_close(losses[name], value)
    assert found[0].keypoints.shape == (QUERIES, LARGEST, 2)
    assert not found[0].keypoints.requires_grad


@pytest.mark.parametrize(
    ('counts', 'message'),
    [
        ((3, 0), r'got 2 numbers \(3, 0\) for num_classes=3'),
        ((3, -1, 2), 'natural numbers'),
        ((0, 0, 0), 'configs/rfdetr'),
    ],
)
def test_impossible_schemas(counts, message):
    with pytest.raises(InputError, match=message):
        build(num_keypoints=counts)


def test_objects_without_keypoints_are_refused():
    batch = samples()
    for sample in batch:
        del sample.gt_instances.keypoints
    with pytest.raises(InputError, match='PackPoseInputs'):
        build().loss(feats(), batch)
    batch = samples()
    batch[0].gt_instances.keypoints = torch.zeros(3, 17, 3)
    with pytest.raises(InputError, match='num_keypoints'):
        build().loss(feats(), batch)


def test_state_dicts_of_other_tasks_and_schemas():
    pose, plain = build(), build('RFDETRHead')
    masks = build('RFDETRInsHead')
    for head, other, words in (
        (pose, plain, 'a detection model .* this is a keypoint model'),
        (pose, masks, 'an instance segmentation model .* a keypoint model'),
        (plain, pose, 'a keypoint model .* this is a detection model'),
        (masks, pose, 'a keypoint model .* an instance segmentation model'),
    ):
        before = {k: v.clone() for k, v in head.state_dict().items()}
        with pytest.raises(InputError, match=words) as error:
            head.load_state_dict(other.state_dict())
        assert '\n' not in str(error.value)
        after = head.state_dict()
        assert all(torch.equal(after[key], before[key]) for key in before)
    other = build(num_keypoints=(3, 1, 1))
    with pytest.raises(InputError, match=r'\(3, 0, 2\).*\(3, 1, 1\)'):
        other.load_state_dict(pose.state_dict())


def test_groups_and_queries_are_cut_on_loading():
    pose = build()
    fewer = build(num_groups=1, num_queries=4)
    fewer.load_state_dict(pose.state_dict())
    assert fewer.eval()(feats())[0].shape[2] == 4
    branch = pose.proposal_keypoint_branch[2].weight
    assert torch.equal(fewer.proposal_keypoint_branch[2].weight, branch[:1])
