# RF-DETR's head over CSPNeXt-s, the backbone of mmdet's RTMDet.
_base_ = './rfdetr-head_r50_tiny-shapes.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='CSPNeXt',
        arch='P5',
        expand_ratio=0.5,
        deepen_factor=0.33,
        widen_factor=0.5,
        out_indices=(2, 3, 4),
        channel_attention=True,
        norm_cfg=dict(type='BN'),
        act_cfg=dict(type='SiLU', inplace=True)),
    neck=dict(in_channels=[128, 256, 512]))
