_base_ = [
    '../_base_/models/rfdetr_seg.py', '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/adamw_100e.py', '../_base_/default_runtime_seg.py'
]

image_size = 624  # px, a multiple of patch_size * num_windows = 24
model = dict(
    backbone=dict(img_size=image_size),
    bbox_head=dict(decoder=dict(num_layers=6)))

train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[3].scale = (image_size, image_size)
test_pipeline[1].scale = (image_size, image_size)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
