# RF-DETR Keypoint Preview: people and their 17 keypoints.
_base_ = [
    '../_base_/models/rfdetr_pose.py',
    '../_base_/datasets/coco_keypoints.py',
    '../_base_/schedules/adamw_100e.py',
    '../_base_/default_runtime_pose.py'
]

image_size = 576  # px, a multiple of patch_size * num_windows = 24
num_queries = 100  # per group
model = dict(
    backbone=dict(img_size=image_size),
    bbox_head=dict(num_queries=num_queries, decoder=dict(num_layers=4)),
    test_cfg=dict(max_per_img=num_queries))

train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[3].scale = (image_size, image_size)
test_pipeline[1].scale = (image_size, image_size)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
