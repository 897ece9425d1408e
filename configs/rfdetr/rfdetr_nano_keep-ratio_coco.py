# Nano without stretching: an image is made as large as fits into long_side x
# short_side, upright or lying, in training and in inference. A batch is padded
# to its largest sides and to multiples of patch_size * num_windows = 32, and
# padding is masked in the model.
_base_ = './rfdetr_nano_coco.py'

long_side = 512  # px
short_side = 384
model = dict(data_preprocessor=dict(batch_augments=None))

train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[3].update(scale=(long_side, short_side), keep_ratio=True)
test_pipeline[1].update(scale=(long_side, short_side), keep_ratio=True)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
