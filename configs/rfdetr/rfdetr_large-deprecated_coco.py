# The Large of the first release: Base with DINOv2-B and two feature maps.
_base_ = './rfdetr_base_coco.py'

model = dict(
    backbone=dict(arch='base'),
    neck=dict(
        in_channels=[768] * 4, out_channels=384, scale_factors=(2.0, 0.5)),
    bbox_head=dict(
        embed_dims=384,
        decoder=dict(
            num_levels=2,
            self_attn_num_heads=12,
            cross_attn_num_heads=24,
            num_points=4)))
