# Upstream's weights for this variant are under PML-1.0, not Apache-2.0.
_base_ = [
    '../_base_/models/rfdetr.py', '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/adamw_100e.py', '../_base_/default_runtime.py'
]

image_size = 700  # px, a multiple of patch_size * num_windows = 20
patch_size = 20
num_windows = 1  # no windows: all blocks attend to the whole image
model = dict(
    data_preprocessor=dict(pad_size_divisor=patch_size * num_windows),
    backbone=dict(arch='base', img_size=image_size, patch_size=patch_size,
                  num_windows=num_windows),
    neck=dict(in_channels=[768] * 4, out_channels=512),
    bbox_head=dict(
        embed_dims=512,
        decoder=dict(
            num_layers=5, num_points=4,
            self_attn_num_heads=16, cross_attn_num_heads=32)))

train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[0].draft_size = image_size
train_pipeline[3].scale = (image_size, image_size)
test_pipeline[1].scale = (image_size, image_size)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
