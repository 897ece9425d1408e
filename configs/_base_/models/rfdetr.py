# RF-DETR: windowed DINOv2 -> projector -> query selection and decoder.
# What all variants share, in the dress of Nano to Large; a variant adds
# backbone.img_size and bbox_head.decoder.num_layers.
patch_size = 16  # px
num_windows = 2  # per side, so 4 attention windows
num_queries = 300  # per group

model = dict(
    type='RFDETR',
    data_preprocessor=dict(
        type='StackingDetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=patch_size * num_windows),
    backbone=dict(
        type='WindowedDINOv2',
        arch='small',
        patch_size=patch_size,
        num_windows=num_windows,
        # Both count blocks from 0. The maps are outputs of out_indices.
        out_indices=(2, 5, 8, 11),
        global_attn_indices=(3, 6, 9)),
    neck=dict(
        type='MultiScaleProjector',
        in_channels=[384] * 4,
        out_channels=256,
        scale_factors=(1.0, )),
    bbox_head=dict(
        type='RFDETRHead',
        num_classes=80,
        embed_dims=256,
        num_queries=num_queries,
        num_groups=13,
        decoder=dict(
            num_levels=1,
            self_attn_num_heads=8,
            cross_attn_num_heads=16,
            num_points=2,
            feedforward_channels=2048),
        loss_cls=dict(type='IABCELoss', loss_weight=1.0),
        loss_bbox=dict(type='L1Loss', loss_weight=5.0),
        loss_iou=dict(type='GIoULoss', eps=1e-7, loss_weight=2.0)),
    train_cfg=dict(
        assigner=dict(
            type='GroupHungarianAssigner',
            match_costs=[
                dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
                dict(type='FocalLogitCost', weight=2.0),
                dict(type='IoUCost', iou_mode='giou', weight=2.0)
            ])),
    test_cfg=dict(max_per_img=num_queries))

# For tools/test.py --tta, which adds a flipped view to the test pipeline. One
# view needs no NMS; two views of one object do.
tta_model = dict(
    type='DetTTAModel',
    tta_cfg=dict(
        nms=dict(type='nms', iou_threshold=0.7), max_per_img=num_queries))
