# Upstream's preset for industrial images: light, blur and sensor noise.
# In place of the flip of the training pipeline; in a config of your own:
#     _base_ = ["./rfdetr_nano_coco.py", "../_base_/augmentations/industrial.py"]
#     train_pipeline = _base_.train_pipeline
#     train_pipeline[4:5] = _base_.augmentations
#     train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
augmentations = [
    dict(type='RandomFlip', prob=0.3),
    dict(
        type='RandomApply',
        prob=0.5,
        transforms=[dict(type='ColorJitter', brightness=0.2, contrast=0.2)]),
    dict(
        type='RandomApply',
        prob=0.3,
        transforms=[dict(type='GaussianBlur', kernel_size=3)]),
    dict(
        type='RandomApply',
        prob=0.3,
        transforms=[dict(type='GaussianNoise', std_range=(0.01, 0.05))])
]
