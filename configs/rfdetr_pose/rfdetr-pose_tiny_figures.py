# The demo with keypoints: a small RF-DETR, from random weights, on the figures
# that `python demo/tiny_figures.py data/tiny_figures` draws.
_base_ = '../rfdetr/rfdetr_tiny_shapes-scratch.py'

max_epochs = 12
image_w, image_h = 128, 96  # px, multiples of patch_size * num_windows = 16
model = dict(
    backbone=dict(img_size=image_w),
    neck=dict(type='DualProjector'),
    bbox_head=dict(
        type='RFDETRPoseHead',
        num_classes=2,
        num_keypoints=(5, 4),  # of walkers and kites
        num_queries=8,
        loss_cls=dict(type='IABCELoss', loss_weight=2.0),
        loss_keypoint_l1=dict(type='KeypointL1Loss', loss_weight=2.0),
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
    # 8 queries times 2 classes
    test_cfg=dict(max_per_img=16, trace_alpha=0.2))
tta_model = None

test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (image_w, image_h)
test_pipeline[2] = dict(type='LoadPoseAnnotations', with_bbox=True)
test_pipeline[3].type = 'PackPoseInputs'
train_pipeline = [
    _base_.train_pipeline[0],
    dict(type='LoadPoseAnnotations', with_bbox=True), test_pipeline[1],
    dict(type='PoseRandomFlip', prob=0.5),
    dict(type='PackPoseInputs')
]
data_root = 'data/tiny_figures/'
data = dict(data_root=data_root, metainfo=dict(classes=('walker', 'kite')))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **data))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **data))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline, **data))
oks = dict(
    type='NamedOksMetric', sigmas=dict(walker=[0.05] * 5, kite=[0.05] * 4))
val_evaluator = dict(ann_file=data_root + 'val.json', **oks)
test_evaluator = dict(ann_file=data_root + 'test.json', **oks)

train_cfg = dict(max_epochs=max_epochs, val_interval=4)
default_hooks = dict(checkpoint=dict(save_best='coco/keypoint_mAP'))
visualizer = dict(type='PoseLocalVisualizer')
