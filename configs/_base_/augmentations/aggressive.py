# Upstream's preset for larger data sets (from 2000 images on). Boxes only: the
# affine transform has no masks.
# In place of the flip of the training pipeline; in a config of your own:
#     _base_ = ["./rfdetr_nano_coco.py", "../_base_/augmentations/aggressive.py"]
#     train_pipeline = _base_.train_pipeline
#     train_pipeline[4:5] = _base_.augmentations
#     train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
augmentations = [
    dict(
        type='RandomFlip',
        prob=[0.25, 0.25, 0.25],
        direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='Rotate', prob=0.5, max_mag=45.0, img_border_value=0),
    dict(
        type='RandomApply',
        prob=0.5,
        transforms=[
            dict(
                type='CenteredRandomAffine',
                max_rotate_degree=15.0,
                max_translate_ratio=0.1,
                scaling_ratio_range=(0.8, 1.2),
                max_shear_degree=5.0,
                border_val=(0, 0, 0))
        ]),
    dict(
        type='RandomApply',
        prob=0.5,
        transforms=[
            dict(
                type='ColorJitter',
                brightness=0.2,
                contrast=0.2,
                saturation=0.2,
                hue=0.1)
        ]),
    # Boxes that were rotated out of the image.
    dict(type='FilterAnnotations', keep_empty=False)
]
