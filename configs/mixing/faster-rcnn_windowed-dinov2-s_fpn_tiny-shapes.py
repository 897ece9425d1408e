# mmdet's Faster R-CNN. Its finest map has stride 8 here instead of 4, so
# anchors and regions are spread over one level less.
_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py', './_base_/tiny_shapes.py'
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
        bbox_head=dict(num_classes=_base_.num_classes)),
    # 3 to 6 objects in an image: 512 regions would be background.
    train_cfg=dict(rcnn=dict(sampler=dict(num=64))))
