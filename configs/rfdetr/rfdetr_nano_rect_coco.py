# Nano on rectangles: every image is resized to one height and width, here 3:4
# as most of COCO is, in training and in inference. Another rectangle: change
# the two sides, multiples of patch_size * num_windows = 32, in a copy of this
# file. The position table stays square and is resized along each side.
_base_ = './rfdetr_nano_coco.py'

image_h = 384  # px
image_w = 512
model = dict(data_preprocessor=dict(batch_augments=None))

train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[3].scale = (image_w, image_h)
test_pipeline[1].scale = (image_w, image_h)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
