# The demo without weights to start from: a small RF-DETR, from random weights,
# on the shapes that `python demo/tiny_shapes.py data/tiny_shapes` draws.
# `python demo/run.py --from-scratch` runs it all.
_base_ = [
    '../_base_/models/rfdetr.py', '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/adamw_100e.py', '../_base_/default_runtime.py'
]

image_w = 128  # px, multiples of patch_size * num_windows = 16
image_h = 96
patch_size = 8
num_queries = 12
embed_dims = 128
max_epochs = 40
model = dict(
    data_preprocessor=dict(pad_size_divisor=patch_size * 2),
    backbone=dict(
        arch='mini',
        img_size=image_w,  # of the square position table
        patch_size=patch_size,
        out_indices=(0, 1),
        global_attn_indices=(1, )),
    neck=dict(in_channels=[128] * 2, out_channels=embed_dims),
    bbox_head=dict(
        num_classes=12,
        embed_dims=embed_dims,
        num_queries=num_queries,
        num_groups=3,
        decoder=dict(
            num_layers=2, cross_attn_num_heads=8, feedforward_channels=256)),
    test_cfg=dict(max_per_img=100))
tta_model = dict(tta_cfg=dict(max_per_img=100))

data_root = 'data/tiny_shapes/'
metainfo = dict(
    classes=tuple(f'{colour} {shape}' for colour in ('red', 'green', 'blue')
                  for shape in ('circle', 'square', 'triangle', 'cross')))
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (image_w, image_h)
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
loader = dict(batch_size=8, num_workers=0, persistent_workers=False)
train_dataloader = dict(
    dataset=dict(ann_file='train.json', pipeline=train_pipeline, **data),
    **loader)
val_dataloader = dict(
    dataset=dict(ann_file='val.json', pipeline=test_pipeline, **data),
    **loader)
test_dataloader = dict(
    dataset=dict(ann_file='test.json', pipeline=test_pipeline, **data),
    **loader)
val_evaluator = dict(ann_file=data_root + 'val.json')
test_evaluator = dict(ann_file=data_root + 'test.json')

# Everything starts from random weights: one rate for all.
optim_wrapper = dict(
    optimizer=dict(lr=5e-4),
    paramwise_cfg=dict(
        backbone_lr_mult=1.0, layer_decay_rate=1.0, component_decay_rate=1.0))
train_cfg = dict(max_epochs=max_epochs, val_interval=20)
param_scheduler = [
    dict(type='WarmupCosineLR', convert_to_iter_based=True, warmup=1)
]
_base_.custom_hooks[0].decay = 0.98  # a short run, a short memory
custom_hooks = _base_.custom_hooks
default_hooks = dict(logger=dict(interval=25))
auto_scale_lr = dict(base_batch_size=8)
randomness = dict(seed=0)
