# mmdet's RetinaNet. The projector takes the place of a ResNet's pyramid: out
# of four maps of stride 16 it makes maps of strides 8, 16 and 32.
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py', './_base_/tiny_shapes.py'
]

model = dict(
    backbone=dict(
        _delete_=True, type='WindowedDINOv2', img_size=_base_.image_w),
    neck=[
        dict(
            type='MultiScaleProjector',
            in_channels=[384] * 4,
            scale_factors=(2.0, 1.0, 0.5)),
        # The anchors of the base have strides 8 to 128.
        dict(
            type='FPN',
            in_channels=[256] * 3,
            out_channels=256,
            add_extra_convs='on_output',
            num_outs=5)
    ],
    bbox_head=dict(num_classes=_base_.num_classes))
