import numpy as np
import pytest
import torch
from half_precision import FLOAT16_ON_CPU
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData

from rfdetr_mm.models.task_modules.batch_objects import BatchObjects

DIMS, QUERIES, GROUPS, CLASSES = 32, 6, 3, 4
COSTS = [
    dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
    dict(type='FocalLogitCost', weight=2.0),
    dict(type='IoUCost', iou_mode='giou', weight=2.0),
    dict(type='CrossEntropyLossCost', use_sigmoid=True, weight=5.0),
    dict(type='DiceCost', pred_act=True, eps=1.0, weight=5.0),
]
ASSIGNER = dict(type='GroupHungarianAssigner', match_costs=COSTS)
INPUT_HW = (64, 96)
MASK_HW = (16, 24)
TERMS = ('loss_cls', 'loss_bbox', 'loss_iou', 'loss_mask', 'loss_dice')


def build(type_='RFDETRInsHead', **kwargs):
    torch.manual_seed(0)
    config = dict(
        type=type_,
        num_classes=CLASSES,
        embed_dims=DIMS,
        num_queries=QUERIES,
        num_groups=GROUPS,
        decoder=dict(
            num_layers=2,
            self_attn_num_heads=2,
            cross_attn_num_heads=4,
            num_points=2,
            feedforward_channels=48,
        ),
        train_cfg=dict(assigner=ASSIGNER),
        test_cfg=dict(max_per_img=QUERIES),
    )
    head = MODELS.build({**config, **kwargs})
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return head


def feats(seed=1):
    """Stride 16."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, DIMS, 4, 6, generator=generator)]


def samples(counts=(3, 0), input_hw=INPUT_HW, img_hw=None, originals=None):
    """Rectangles that fill their boxes; the masks are not padded."""
    generator = torch.Generator().manual_seed(2)
    height, width = img_hw or input_hw
    out = []
    for i, count in enumerate(counts):
        original = (originals or [(height, width)] * len(counts))[i]
        sample = DetDataSample(
            metainfo=dict(
                batch_input_shape=input_hw,
                img_shape=(height, width),
                ori_shape=original,
                scale_factor=(width / original[1], height / original[0]),
            )
        )
        corners = torch.rand(count, 2, generator=generator) * 0.5
        sizes = torch.rand(count, 2, generator=generator) * 0.4 + 0.05
        boxes = torch.cat([corners, corners + sizes], dim=1)
        boxes = boxes * torch.tensor([width, height] * 2)
        masks = np.zeros((count, height, width), np.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().int().tolist()):
            mask[y1:y2, x1:x2] = 1
        sample.gt_instances = InstanceData(
            bboxes=boxes,
            labels=torch.randint(CLASSES, (count,), generator=generator),
            masks=BitmapMasks(masks, height, width),
        )
        out.append(sample)
    return out


@pytest.mark.parametrize('training', [True, False])
def test_shapes(training):
    head = build().train(training)
    cls_scores, bbox_preds, mask_preds = head(feats(), samples())
    total = QUERIES * (GROUPS if training else 1)
    assert cls_scores.shape == (2, 2, total, CLASSES)
    assert bbox_preds.shape == (2, 2, total, 4)
    assert mask_preds.shape == (2, 2, total, *MASK_HW)


def test_boxes_are_those_of_the_parent():
    head, boxes_alone = build().eval(), build('RFDETRHead').eval()
    boxes_alone.load_state_dict(
        {k: v for k, v in head.state_dict().items() if 'mask_branch' not in k}
    )
    for found, expected in zip(head(feats())[:2], boxes_alone(feats())):
        assert torch.equal(found, expected)


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
        assert losses['loss_mask'] == losses['enc_loss_dice'] == 0
    else:
        assert losses['loss_mask'] > 0 and losses['d0.loss_dice'] > 0


def test_loss_of_perfect_and_of_inverted_masks(monkeypatch):
    """Of the queries that were matched, and of no others."""
    head = build().train()
    targets = samples((3, 2))
    outs = head._decode(feats(), targets, GROUPS)
    objects = [s.gt_instances for s in targets]
    for gt_instances in objects:
        masks = gt_instances.masks.masks
        del gt_instances.masks
        gt_instances.masks = torch.from_numpy(masks).bool()
    metas = [s.metainfo for s in targets]
    layer = head._supervised_layers(outs)['']
    batch = BatchObjects.of(objects, metas)
    matches = head._match([layer], batch, metas, GROUPS)

    def losses(factor):
        def select(image, queries):
            (_, gt_inds) = matches.per_image(0)[image]
            masks = objects[image].masks[gt_inds].float()
            return factor * (2 * masks - 1)  # masks of the input's size

        monkeypatch.setattr(layer.masks, 'select', select)
        terms = head._losses_of_layers(
            [layer], matches, batch, avg_factor=5.0 * GROUPS
        )
        return terms['loss_mask'], terms['loss_dice']

    perfect, inverted = losses(50.0), losses(-50.0)
    # Points on an edge have a logit of 0 on either side.
    assert perfect[0] < 1.0 and perfect[1] < 0.5
    assert inverted[0] > 30.0 and inverted[1] > 4.0


def test_masks_of_a_padded_batch_are_those_of_the_padded_canvas():
    """Masks padded by the head or by DetDataPreprocessor are the same."""
    head = build().train()
    targets = samples((3, 2), img_hw=(48, 80))
    torch.manual_seed(1)
    losses = head.loss(feats(), targets)
    for sample in targets:
        masks = sample.gt_instances.masks
        sample.gt_instances.masks = masks.pad(INPUT_HW)
    torch.manual_seed(1)
    assert losses == head.loss(feats(), targets)


def test_missing_masks():
    head, targets = build().train(), samples()
    del targets[0].gt_instances.masks
    with pytest.raises(ValueError, match='with_mask=True'):
        head.loss(feats(), targets)


def test_a_match_cost_of_masks_decides():
    """Without it the same queries would be matched whatever the masks."""
    head = build().train()
    targets = samples((3, 2))
    outs = head._decode(feats(), targets, GROUPS)
    metas = [s.metainfo for s in targets]
    layer = head._supervised_layers(outs)['']
    objects = []
    for sample in targets:
        gt_instances = InstanceData(
            bboxes=sample.gt_instances.bboxes,
            labels=sample.gt_instances.labels,
            masks=torch.from_numpy(sample.gt_instances.masks.masks).bool(),
        )
        objects.append(gt_instances)
    largest = objects[0].masks.flatten(1).sum(dim=1).argmax()
    costs = head.assigner.match_costs
    head.assigner.match_costs = costs[:3]
    batch = BatchObjects.of(objects, metas)
    queries, gt_inds = head._match([layer], batch, metas, GROUPS).per_image(0)[
        0
    ]
    others = set(range(QUERIES)) - set(queries[gt_inds == largest].tolist())
    # Another query of the first group draws the largest object.
    artist = others.pop()
    dense = torch.full((2, QUERIES * GROUPS, *INPUT_HW), -50.0)
    dense[0, artist][objects[0].masks[largest]] = 50.0
    head.assigner.match_costs = costs
    layer.masks.at_points = lambda points: torch.stack(
        [
            torch.nn.functional.grid_sample(
                maps[:, None],
                2 * points[:, None].expand(len(maps), -1, -1, -1) - 1,
                mode='nearest',
                align_corners=False,
            )[:, 0, 0]
            for maps in dense
        ]
    )
    batch = BatchObjects.of(objects, metas)
    queries, gt_inds = head._match([layer], batch, metas, GROUPS).per_image(0)[
        0
    ]
    assert gt_inds[queries == artist].tolist() == [largest]


@pytest.mark.parametrize('rescale', [True, False])
def test_detections_have_masks(rescale):
    head = build().eval()
    originals = [(48, 100), (300, 111)]
    results = head.predict(feats(), samples(originals=originals), rescale)
    for result, original in zip(results, originals):
        size = original if rescale else INPUT_HW
        assert result.masks.dtype == torch.bool
        assert result.masks.shape == (QUERIES, *size)
        assert not result.masks.requires_grad


def test_masks_belong_to_their_boxes():
    """Best first, several classes of one query, a padded input."""
    head = build(num_classes=2, test_cfg=dict(max_per_img=3)).eval()
    logits = torch.tensor([[[[0.0, 3.0], [2.0, 1.0]]]])
    boxes = torch.rand(1, 1, 2, 4)
    masks = torch.full((1, 1, 2, 8, 12), -1.0)
    masks[..., 0, :, :3] = 1.0  # query 0: the left quarter of the input
    masks[..., 1, :2, :] = 1.0  # query 1: the upper quarter
    meta = dict(
        img_shape=(32, 24),
        batch_input_shape=(32, 48),
        ori_shape=(64, 48),
        scale_factor=(0.5, 0.5),
    )
    (result,) = head.predict_by_feat(logits, boxes, masks, [meta])
    left = torch.zeros(64, 48, dtype=torch.bool)
    left[:, :24] = True  # of the image alone: its left half
    upper = torch.zeros(64, 48, dtype=torch.bool)
    upper[:16] = True
    for mask, expected in zip(result.masks, (left, upper, upper), strict=True):
        assert torch.equal(mask, expected)


def test_loss_and_predict_is_both():
    head = build().train()
    torch.manual_seed(1)
    losses, detections = head.loss_and_predict(feats(), samples())
    torch.manual_seed(1)
    assert losses == head.loss(feats(), samples())
    expected = head.predict(feats(), samples(), rescale=False)
    for a, b in zip(detections, expected):
        torch.testing.assert_close(a.bboxes, b.bboxes)
        assert torch.equal(a.masks, b.masks)


@pytest.mark.parametrize('dtype', [torch.bfloat16, FLOAT16_ON_CPU])
def test_half_precision_losses_stay_near(dtype):
    head = build().train()
    torch.manual_seed(1)
    expected = head.loss(feats(), samples((3, 2)))
    torch.manual_seed(1)
    with torch.autocast('cpu', dtype=dtype):
        losses = head.loss(feats(), samples((3, 2)))
    for name in ('loss_mask', 'loss_dice', 'enc_loss_mask'):
        assert losses[name].dtype == torch.float32
        torch.testing.assert_close(
            losses[name], expected[name], rtol=0.1, atol=0.1
        )


def test_checkpoints_of_the_other_task_are_refused():
    heads = {
        'a detection': build('RFDETRHead'),
        'an instance segmentation': build(),
    }
    for its_task, other in heads.items():
        for task, head in heads.items():
            if task == its_task:
                head.load_state_dict(other.state_dict())
                continue
            before = {k: v.clone() for k, v in head.state_dict().items()}
            changed = {k: v + 1 for k, v in other.state_dict().items()}
            with pytest.raises(ValueError, match=f'of {its_task} model'):
                head.load_state_dict(changed, strict=False)
            after = head.state_dict()
            assert all(torch.equal(after[k], before[k]) for k in before)


def test_trains_under_a_stock_single_stage_detector():
    """ResNet and ChannelMapper: stride 32, so 8 mask cells for a cell."""
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
                type='RFDETRInsHead',
                num_classes=CLASSES,
                embed_dims=DIMS,
                num_queries=cells,
                num_groups=GROUPS,
                mask_upsample_ratio=8,
                decoder=dict(
                    num_layers=2, self_attn_num_heads=2, cross_attn_num_heads=4
                ),
            ),
            train_cfg=dict(assigner=ASSIGNER),
            test_cfg=dict(max_per_img=5),
        )
    )
    detector.train()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=1e-3)
    images = torch.randn(2, 3, 96, 160)
    targets = samples((3, 1), (96, 160), originals=[(50, 70)] * 2)
    history = []
    for _ in range(6):
        losses = detector.loss(images, targets)
        total = sum(v for k, v in losses.items() if 'loss' in k)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append((total.item(), losses['loss_dice'].item()))
    assert history[-1][0] < history[0][0]
    assert history[-1][1] < history[0][1]
    detector.eval()
    result = detector(images, targets, mode='predict')[0].pred_instances
    assert result.masks.shape == (5, 50, 70)
    raw = detector(images, mode='tensor')
    assert raw[2].shape == (2, 2, cells, 24, 40)
