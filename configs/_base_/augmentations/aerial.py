# Upstream's preset for aerial images: all flips and a quarter of a turn.
# In place of the flip of the training pipeline; in a config of your own:
#     _base_ = ["./rfdetr_nano_coco.py", "../_base_/augmentations/aerial.py"]
#     train_pipeline = _base_.train_pipeline
#     train_pipeline[4:5] = _base_.augmentations
#     train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
augmentations = [
    dict(
        type='RandomFlip',
        prob=[0.25, 0.25, 0.25],
        direction=['horizontal', 'vertical', 'diagonal']),
    # Around the middle, and within the canvas: for square images.
    dict(
        type='Rotate',
        prob=0.5,
        min_mag=90.0,
        max_mag=90.0,
        img_border_value=0),
    dict(
        type='RandomApply',
        prob=0.4,
        transforms=[dict(type='ColorJitter', brightness=0.15, contrast=0.15)]),
    dict(type='FilterAnnotations', keep_empty=False)
]
