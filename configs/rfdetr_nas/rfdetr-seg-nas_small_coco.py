# All sizes of RF-DETR-Seg with DINOv2-S in one training: rfdetr_seg/*.
_base_ = [
    '../_base_/models/rfdetr_seg.py', '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/adamw_100e.py', '../_base_/default_runtime_seg.py',
    '../_base_/search_spaces/rfdetr.py'
]

largest_size = 1008  # px: 960, rounded for patches of 28 px in 4 windows
image_size = 432  # px, of the sub-network that is validated: Medium
model = dict(
    subnet=f'{image_size}x{image_size}-p12-w2-d5-q200',
    data_preprocessor=dict(
        # Every image has the size of the sub-network: nothing to pad.
        pad_size_divisor=1,
        batch_augments=[dict(type='BatchSubnetResize')]),
    # Kernels of 12 px, as those of the published weights.
    backbone=dict(img_size=960),
    bbox_head=dict(decoder=dict(num_layers=6)))

train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[0].draft_size = largest_size
train_pipeline[3].scale = (largest_size, largest_size)
test_pipeline[1].scale = (image_size, image_size)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

custom_hooks = _base_.custom_hooks + [dict(type='SubnetHook')]
