# RF-DETR Keypoint: the detector with keypoints. A variant adds
# backbone.img_size, bbox_head.decoder.num_layers and num_queries.
_base_ = './rfdetr.py'

patch_size = 12  # px
num_windows = 2  # per side, so 4 attention windows
model = dict(
    data_preprocessor=dict(pad_size_divisor=patch_size * num_windows),
    backbone=dict(patch_size=patch_size, num_windows=num_windows),
    # One projector for the instances, one for their keypoints.
    neck=dict(type='DualProjector'),
    bbox_head=dict(
        type='RFDETRPoseHead',
        num_classes=1,
        num_keypoints=(17, ),  # of each class
        loss_cls=dict(type='IABCELoss', loss_weight=2.0),
        loss_keypoint_l1=dict(type='KeypointL1Loss', loss_weight=1.0),
        loss_keypoint_findable=dict(
            type='KeypointFindableLoss', loss_weight=1.0),
        loss_keypoint_visible=dict(
            type='KeypointVisibleLoss', loss_weight=1.0),
        loss_keypoint_nll=dict(type='KeypointNLLLoss', loss_weight=1.0)),
    train_cfg=dict(
        assigner=dict(match_costs=[
            dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
            dict(type='FocalLogitCost', weight=2.0),
            dict(type='IoUCost', iou_mode='giou', weight=2.0),
            dict(type='KeypointL1Cost', weight=1.0),
            dict(type='KeypointFindableCost', weight=1.0),
            dict(type='KeypointVisibleCost', weight=1.0),
            dict(type='KeypointNLLCost', weight=1.0)
        ])),
    # How much uncertain keypoints lower the score of their object.
    test_cfg=dict(trace_alpha=0.2))

# mmdet's test-time augmentation merges boxes, not keypoints.
tta_model = None
