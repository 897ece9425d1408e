# mmdet's Mask R-CNN, see faster-rcnn_windowed-dinov2-s_fpn_tiny-shapes.py.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py', './_base_/tiny_shapes.py'
]

model = dict(
    backbone=dict(
        _delete_=True, type='WindowedDINOv2', img_size=_base_.image_w),
    neck=[
        dict(
            type='MultiScaleProjector',
            in_channels=[384] * 4,
            scale_factors=(2.0, 1.0, 0.5)),
        dict(type='FPN', in_channels=[256] * 3, out_channels=256, num_outs=4)
    ],
    rpn_head=dict(anchor_generator=dict(scales=[4], strides=[8, 16, 32, 64])),
    roi_head=dict(
        bbox_roi_extractor=dict(featmap_strides=[8, 16, 32], finest_scale=112),
        bbox_head=dict(num_classes=_base_.num_classes),
        mask_roi_extractor=dict(featmap_strides=[8, 16, 32], finest_scale=112),
        mask_head=dict(num_classes=_base_.num_classes)),
    train_cfg=dict(rcnn=dict(sampler=dict(num=64))))

train_pipeline = _base_.train_pipeline
train_pipeline[1].with_mask = True
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_evaluator = dict(metric=['bbox', 'segm'])
test_evaluator = dict(metric=['bbox', 'segm'])
