# The first release of RF-DETR, succeeded by Nano to Large.
_base_ = [
    '../_base_/models/rfdetr.py', '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/adamw_100e.py', '../_base_/default_runtime.py'
]

image_size = 560  # px, a multiple of patch_size * num_windows = 56
patch_size = 14
num_windows = 4
model = dict(
    data_preprocessor=dict(pad_size_divisor=patch_size * num_windows),
    backbone=dict(
        img_size=37 * patch_size,  # of the position table; resized to 40
        patch_size=patch_size,
        num_windows=num_windows,
        out_indices=(1, 4, 7, 10),
        global_attn_indices=(2, 5, 8, 11)),
    bbox_head=dict(decoder=dict(num_layers=3)))

train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[3].scale = (image_size, image_size)
test_pipeline[1].scale = (image_size, image_size)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
