# mmdet's DINO over three maps of the projector and a fourth of stride 64.
_base_ = ['./_base_/dino.py', './_base_/tiny_shapes.py']

model = dict(
    backbone=dict(type='WindowedDINOv2', img_size=_base_.image_w),
    neck=[
        dict(
            type='MultiScaleProjector',
            in_channels=[384] * 4,
            scale_factors=(2.0, 1.0, 0.5)),
        dict(
            type='ChannelMapper',
            in_channels=[256] * 3,
            kernel_size=1,
            out_channels=256,
            act_cfg=None,
            norm_cfg=dict(type='GN', num_groups=32),
            num_outs=4)
    ],
    bbox_head=dict(num_classes=_base_.num_classes))
