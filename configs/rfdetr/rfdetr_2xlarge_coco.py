# Upstream's weights for this variant are under PML-1.0, not Apache-2.0.
_base_ = './rfdetr_xlarge_coco.py'

image_size = 880  # px, a multiple of patch_size * num_windows = 40
num_windows = 2
model = dict(
    data_preprocessor=dict(
        pad_size_divisor=_base_.patch_size * num_windows),
    backbone=dict(img_size=image_size, num_windows=num_windows))

train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[0].draft_size = image_size
train_pipeline[3].scale = (image_size, image_size)
test_pipeline[1].scale = (image_size, image_size)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
