# The demo: a small RF-DETR, from random weights, on the shapes that
# `python demo/tiny_shapes.py data/tiny_shapes` draws. `make demo` runs it all.
_base_ = [
    '../_base_/models/rfdetr.py', '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/adamw_100e.py', '../_base_/default_runtime.py'
]

image_size = 128  # px, a multiple of patch_size * num_windows = 16
patch_size = 8
num_queries = 50
embed_dims = 128
max_epochs = 20
model = dict(
    data_preprocessor=dict(pad_size_divisor=patch_size * 2),
    backbone=dict(
        arch='tiny',
        img_size=image_size,
        patch_size=patch_size,
        out_indices=(0, 1, 2, 3),
        global_attn_indices=(1, 3)),
    neck=dict(in_channels=[192] * 4, out_channels=embed_dims),
    bbox_head=dict(
        num_classes=12,
        embed_dims=embed_dims,
        num_queries=num_queries,
        num_groups=5,
        decoder=dict(
            num_layers=2, cross_attn_num_heads=8, feedforward_channels=512)),
    test_cfg=dict(max_per_img=num_queries))
tta_model = dict(tta_cfg=dict(max_per_img=num_queries))

data_root = 'data/tiny_shapes/'
metainfo = dict(
    classes=tuple(f'{colour} {shape}' for colour in ('red', 'green', 'blue')
                  for shape in ('circle', 'square', 'triangle', 'cross')))
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (image_size, image_size)
train_pipeline = [
    _base_.train_pipeline[0],
    dict(type='LoadAnnotations', with_bbox=True), test_pipeline[1],
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')
]
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        ann_file='train.json',
        data_prefix=dict(img='images/'),
        metainfo=metainfo,
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        ann_file='val.json',
        data_prefix=dict(img='images/'),
        metainfo=metainfo,
        pipeline=test_pipeline))
test_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        ann_file='test.json',
        data_prefix=dict(img='images/'),
        metainfo=metainfo,
        pipeline=test_pipeline))
val_evaluator = dict(ann_file=data_root + 'val.json')
test_evaluator = dict(ann_file=data_root + 'test.json')

# Everything starts from random weights: one rate for all.
optim_wrapper = dict(
    optimizer=dict(lr=5e-4),
    paramwise_cfg=dict(
        backbone_lr_mult=1.0, layer_decay_rate=1.0, component_decay_rate=1.0))
train_cfg = dict(max_epochs=max_epochs, val_interval=5)
param_scheduler = [
    dict(type='WarmupCosineLR', convert_to_iter_based=True, warmup=1)
]
_base_.custom_hooks[0].decay = 0.98  # a short run, a short memory
custom_hooks = _base_.custom_hooks
default_hooks = dict(logger=dict(interval=10))
auto_scale_lr = dict(base_batch_size=16)
