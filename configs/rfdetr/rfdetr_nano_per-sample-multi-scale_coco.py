# Nano, every training image at a size of its own: the sizes of batch-wise
# multi-scale training, drawn for each image. A batch is padded to its largest
# image, and padding is masked in the model.
_base_ = './rfdetr_nano_coco.py'

block = _base_.patch_size * _base_.num_windows
sizes = [_base_.image_size + offset * block for offset in range(-5, 6)]
model = dict(data_preprocessor=dict(batch_augments=None))

train_pipeline = _base_.train_pipeline
train_pipeline[3] = dict(
    type='RandomChoiceResize',
    scales=[(size, size) for size in sizes],
    resize_type='RFDETRResize',
    kernel='training')
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
