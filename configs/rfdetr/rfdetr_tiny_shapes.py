# The demo: the smallest RF-DETR, fine-tuned from the weights that come with
# this package, on the shapes that `python demo/tiny_shapes.py
# data/tiny_shapes` draws. `make demo` runs it all. The weights have seen none
# of these shapes, colours and grounds: rfdetr_tiny_pretraining-shapes.py.
_base_ = [
    '../_base_/models/rfdetr_tiny.py', '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/adamw_100e.py', '../_base_/default_runtime.py'
]

load_from = 'rfdetr://rf-detr-tiny-shapes.pth'

max_epochs = 6
data_root = 'data/tiny_shapes/'
metainfo = dict(
    classes=tuple(f'{colour} {shape}' for colour in ('red', 'green', 'blue')
                  for shape in ('circle', 'square', 'triangle', 'cross')))
# Classes are what is new.
model = dict(
    bbox_head=dict(num_classes=12, loss_cls=dict(loss_weight=4.0)))

# The weights saw 160 x 120 px squeezed to 112 x 112 px. Nearly the whole size
# shows the outlines of small shapes much better and costs little more.
image_w, image_h = 160, 128  # px, multiples of patch_size * num_windows = 16
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

# 6 epochs instead of upstream's 100, so a higher rate, one for all.
optim_wrapper = dict(
    optimizer=dict(lr=5e-4),
    paramwise_cfg=dict(
        backbone_lr_mult=1.0, layer_decay_rate=1.0, component_decay_rate=1.0))
train_cfg = dict(max_epochs=max_epochs, val_interval=1)
param_scheduler = [
    dict(type='WarmupCosineLR', convert_to_iter_based=True, warmup=0.2)
]
_base_.custom_hooks[0].decay = 0.98  # a short run, a short memory
custom_hooks = _base_.custom_hooks
default_hooks = dict(logger=dict(interval=25))
auto_scale_lr = dict(base_batch_size=8)
randomness = dict(seed=0)
