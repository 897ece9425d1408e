# RF-DETR-Seg: the detector with masks. What its variants share; a variant
# adds backbone.img_size, bbox_head.decoder.num_layers and num_queries.
_base_ = './rfdetr.py'

patch_size = 12  # px
num_windows = 2  # per side, so 4 attention windows
model = dict(
    data_preprocessor=dict(
        pad_mask=True, pad_size_divisor=patch_size * num_windows),
    backbone=dict(patch_size=patch_size, num_windows=num_windows),
    bbox_head=dict(
        type='RFDETRInsHead',
        # A mask cell is a square of 4 px of the input.
        mask_upsample_ratio=patch_size / 4,
        loss_mask=dict(
            type='CrossEntropyLoss', use_sigmoid=True, loss_weight=5.0),
        loss_dice=dict(
            type='DiceLoss', naive_dice=True, eps=1.0, loss_weight=5.0)),
    train_cfg=dict(
        assigner=dict(match_costs=[
            dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
            dict(type='FocalLogitCost', weight=2.0),
            dict(type='IoUCost', iou_mode='giou', weight=2.0),
            # At random points that all queries of a batch share.
            dict(type='CrossEntropyLossCost', use_sigmoid=True, weight=5.0),
            dict(type='DiceCost', pred_act=True, eps=1.0, weight=5.0)
        ]),
        cells_per_point=16,  # of a mask
        # Points of the losses: 3 times as many are drawn, the most uncertain
        # ones make up three quarters.
        oversample_ratio=3.0,
        importance_sample_ratio=0.75))

# mmdet's test-time augmentation merges boxes, not masks.
tta_model = None
