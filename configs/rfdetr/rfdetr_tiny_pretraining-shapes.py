# How the shipped weights rfdetr://rf-detr-tiny-shapes.pth were made, first
# part: the smallest RF-DETR, from random weights, on what
# `python demo/pretraining_shapes.py data/pretraining_shapes` draws.
# `python demo/pretrain.py` runs both parts.
_base_ = [
    '../_base_/models/rfdetr_tiny.py', '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/adamw_100e.py', '../_base_/default_runtime.py'
]

max_epochs = 1
data_root = 'data/pretraining_shapes/'
metainfo = dict(
    classes=tuple(f'{colour} {shape}'
                  for colour in ('yellow', 'cyan', 'violet', 'pink')
                  for shape in ('star', 'hexagon', 'crescent', 'heart', 'drop',
                                'semicircle', 'arrow', 'ell', 'tee')))
model = dict(bbox_head=dict(num_classes=36))

image_size = 112
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (image_size, image_size)
train_pipeline = [
    _base_.train_pipeline[0],
    dict(type='LoadAnnotations', with_bbox=True), test_pipeline[1],
    dict(
        type='RandomFlip',
        prob=[0.25, 0.25, 0.25],
        direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PackDetInputs')
]
data = dict(
    data_root=data_root, data_prefix=dict(img='images/'), metainfo=metainfo)
loader = dict(batch_size=8, num_workers=1, persistent_workers=True)
train_dataloader = dict(
    dataset=dict(ann_file='train.json', pipeline=train_pipeline, **data),
    **loader)
val_dataloader = dict(
    dataset=dict(ann_file='val.json', pipeline=test_pipeline, **data),
    **loader)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'val.json')
test_evaluator = val_evaluator

# Everything starts from random weights: one rate for all.
optim_wrapper = dict(
    optimizer=dict(lr=5e-4),
    paramwise_cfg=dict(
        backbone_lr_mult=1.0, layer_decay_rate=1.0, component_decay_rate=1.0))
train_cfg = dict(max_epochs=max_epochs, val_interval=1)
param_scheduler = [
    dict(
        type='WarmupCosineLR',
        convert_to_iter_based=True,
        warmup=0.05,
        end=2,  # so that the rate falls by half in this epoch
        min_factor=0.01)
]
_base_.custom_hooks[0].decay = 0.998
custom_hooks = _base_.custom_hooks
default_hooks = dict(
    logger=dict(interval=100),
    checkpoint=dict(by_epoch=False, interval=500, max_keep_ckpts=3))
auto_scale_lr = dict(base_batch_size=8)
randomness = dict(seed=0)
