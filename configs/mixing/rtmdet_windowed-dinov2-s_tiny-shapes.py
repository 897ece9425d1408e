# mmdet's RTMDet-l without its backbone; batch norms are not synchronised, so
# that it trains without a process group.
_base_ = './_base_/tiny_shapes.py'

norm_cfg = dict(type='BN')
act_cfg = dict(type='SiLU', inplace=True)
model = dict(
    type='RTMDet',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32),
    backbone=dict(type='WindowedDINOv2', img_size=_base_.image_w),
    neck=[
        dict(
            type='MultiScaleProjector',
            in_channels=[384] * 4,
            scale_factors=(2.0, 1.0, 0.5)),
        dict(
            type='CSPNeXtPAFPN',
            in_channels=[256] * 3,
            out_channels=256,
            num_csp_blocks=3,
            expand_ratio=0.5,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg)
    ],
    bbox_head=dict(
        type='RTMDetSepBNHead',
        num_classes=_base_.num_classes,
        in_channels=256,
        stacked_convs=2,
        feat_channels=256,
        anchor_generator=dict(
            type='MlvlPointGenerator', offset=0, strides=[8, 16, 32]),
        bbox_coder=dict(type='DistancePointBBoxCoder'),
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
        with_objectness=False,
        exp_on_reg=True,
        share_conv=True,
        pred_kernel_size=1,
        norm_cfg=norm_cfg,
        act_cfg=act_cfg),
    train_cfg=dict(
        assigner=dict(type='DynamicSoftLabelAssigner', topk=13),
        allowed_border=-1,
        pos_weight=-1,
        debug=False),
    test_cfg=dict(
        nms_pre=30000,
        min_bbox_size=0,
        score_thr=0.001,
        nms=dict(type='nms', iou_threshold=0.65),
        max_per_img=300))
