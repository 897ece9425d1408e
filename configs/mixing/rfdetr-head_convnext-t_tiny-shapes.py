# RF-DETR's head over ConvNeXt-T, which is mmpretrain's, as in mmdet's own
# configs/convnext: pip install onedl-mmpretrain (or mmpretrain).
_base_ = './rfdetr-head_r50_tiny-shapes.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ConvNeXt',
        arch='tiny',
        drop_path_rate=0.4,
        layer_scale_init_value=1.0,
        gap_before_final_norm=False,
        out_indices=[1, 2, 3]),
    neck=dict(in_channels=[192, 384, 768]))
