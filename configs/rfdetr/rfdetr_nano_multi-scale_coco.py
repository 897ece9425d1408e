# Nano with upstream's multi-scale training: a size for each batch, the same in
# all processes. Images are resized to the largest size and, as a batch, down
# to the drawn one. For another variant, change the base. With gradient
# accumulation set interval to accumulative_counts.
_base_ = './rfdetr_nano_coco.py'

block = _base_.patch_size * _base_.num_windows
largest_size = _base_.image_size + 5 * block
model = dict(
    data_preprocessor=dict(
        batch_augments=[
            dict(
                type='BatchMultiScaleResize',
                img_size=_base_.image_size,
                patch_size=_base_.patch_size,
                num_windows=_base_.num_windows,
                interval=1,
                # A run that does not fit into memory stops at once. Upstream
                # draws its first size as all others: False.
                largest_first=True)
        ]))

train_pipeline = _base_.train_pipeline
train_pipeline[0].draft_size = max(600, largest_size)
train_pipeline[3].scale = (largest_size, largest_size)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
