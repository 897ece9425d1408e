# The smallest RF-DETR: 128 channels, 4 blocks, images of 112 x 112 px. It was
# made for CPUs and for the pictures of demo/; upstream has no such size.
_base_ = './rfdetr.py'

image_size = 112  # px, a multiple of patch_size * num_windows = 16
patch_size = 8
num_queries = 16
embed_dims = 128
model = dict(
    data_preprocessor=dict(pad_size_divisor=patch_size * 2),
    backbone=dict(
        arch='mini',
        img_size=image_size,
        patch_size=patch_size,
        out_indices=(1, 3),
        global_attn_indices=(1, 3)),
    neck=dict(in_channels=[128] * 2, out_channels=embed_dims),
    bbox_head=dict(
        embed_dims=embed_dims,
        num_queries=num_queries,
        num_groups=8,
        decoder=dict(
            num_layers=2, cross_attn_num_heads=8, feedforward_channels=256)),
    test_cfg=dict(max_per_img=100))
tta_model = dict(tta_cfg=dict(max_per_img=100))
