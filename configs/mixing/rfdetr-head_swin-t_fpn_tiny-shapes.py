# RF-DETR's head over Swin-T and three maps of mmdet's FPN.
_base_ = './rfdetr-head_r50_tiny-shapes.py'

model = dict(
    # Pretrained: convert_weights=True and init_cfg=dict(type='Pretrained',
    # checkpoint=...) as in mmdet's configs/swin.
    backbone=dict(
        _delete_=True,
        type='SwinTransformer',
        embed_dims=96,
        depths=[2, 2, 6, 2],
        num_heads=[3, 6, 12, 24],
        drop_path_rate=0.2,
        out_indices=(1, 2, 3)),
    neck=dict(
        _delete_=True,
        type='FPN',
        in_channels=[192, 384, 768],
        out_channels=256,
        num_outs=3))
