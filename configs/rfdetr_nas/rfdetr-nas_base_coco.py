# All sizes with DINOv2-B: XLarge and 2XLarge are points of the search space.
# The backbone starts from DINOv2's own weights, whose patches are of 14 px.
_base_ = './rfdetr-nas_small_coco.py'

model = dict(
    backbone=dict(
        arch='base',
        img_size=960 // 12 * 14,
        patch_size=14,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/'
            'dinov2_vitb14_pretrain.pth')),
    neck=dict(in_channels=[768] * 4, out_channels=512),
    bbox_head=dict(
        embed_dims=512,
        decoder=dict(
            num_points=4, self_attn_num_heads=16, cross_attn_num_heads=32)))
