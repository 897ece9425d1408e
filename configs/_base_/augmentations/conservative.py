# Upstream's preset for small data sets (under 500 images).
# In place of the flip of the training pipeline; in a config of your own:
#     _base_ = ["./rfdetr_nano_coco.py", "../_base_/augmentations/conservative.py"]
#     train_pipeline = _base_.train_pipeline
#     train_pipeline[4:5] = _base_.augmentations
#     train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
augmentations = [
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomApply',
        prob=0.3,
        transforms=[dict(type='ColorJitter', brightness=0.1, contrast=0.1)])
]
