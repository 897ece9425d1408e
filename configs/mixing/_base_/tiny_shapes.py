# The demo's data set, for models whose parts come from several houses. It is
# drawn by `python demo/tiny_shapes.py data/tiny_shapes`.
_base_ = [
    '../../_base_/datasets/coco_detection.py',
    '../../_base_/schedules/adamw_100e.py', '../../_base_/default_runtime.py'
]

image_w = 128  # px, multiples of patch_size * num_windows = 32
image_h = 96
num_classes = 12
max_epochs = 12

data_root = 'data/tiny_shapes/'
metainfo = dict(
    classes=tuple(f'{colour} {shape}' for colour in ('red', 'green', 'blue')
                  for shape in ('circle', 'square', 'triangle', 'cross')))
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (image_w, image_h)
train_pipeline = [
    _base_.train_pipeline[0],
    dict(type='LoadAnnotations', with_bbox=True), test_pipeline[1],
    dict(type='RandomFlip', prob=0.5),
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
    optimizer=dict(lr=1e-4),
    paramwise_cfg=dict(
        backbone_lr_mult=1.0, layer_decay_rate=1.0, component_decay_rate=1.0))
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type='WarmupCosineLR', convert_to_iter_based=True, warmup=1)
]
_base_.custom_hooks[0].decay = 0.98  # a short run, a short memory
# mmdet's check that every num_classes is the data set's.
custom_hooks = [*_base_.custom_hooks, dict(type='NumClassCheckHook')]
default_hooks = dict(logger=dict(interval=25))
auto_scale_lr = dict(base_batch_size=8)
