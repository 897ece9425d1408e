# RF-DETR's loss and matching in mmdet's DINO over its own ResNet: mmdet hands
# IoUs to the loss, because IABCELoss is a QualityFocalLoss. One group of
# queries, so the assigner is mmdet's Hungarian one but for FocalLogitCost.
_base_ = ['./_base_/dino.py', './_base_/tiny_shapes.py']

model = dict(
    # Pretrained: init_cfg=dict(
    #     type='Pretrained', checkpoint='torchvision://resnet50')
    backbone=dict(type='ResNet', depth=50, out_indices=(1, 2, 3)),
    neck=dict(
        type='ChannelMapper',
        in_channels=[512, 1024, 2048],
        kernel_size=1,
        out_channels=256,
        act_cfg=None,
        norm_cfg=dict(type='GN', num_groups=32),
        num_outs=4),
    bbox_head=dict(
        num_classes=_base_.num_classes,
        loss_cls=dict(_delete_=True, type='IABCELoss', loss_weight=1.0)),
    train_cfg=dict(
        assigner=dict(
            _delete_=True,
            type='GroupHungarianAssigner',
            match_costs=[
                dict(type='FocalLogitCost', weight=2.0),
                dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
                dict(type='IoUCost', iou_mode='giou', weight=2.0)
            ])))
