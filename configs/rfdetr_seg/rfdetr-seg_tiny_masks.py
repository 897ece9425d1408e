# The demo with masks: a small RF-DETR with a mask branch, from random weights,
# on what `python demo/tiny_masks.py data/tiny_masks` draws: the pictures of
# rfdetr_tiny_shapes.py, classes by colour alone. `make demo-masks` runs it all.
_base_ = '../rfdetr/rfdetr_tiny_shapes-scratch.py'

image_w = 112  # px, multiples of patch_size = 8
image_h = 80
max_epochs = 16
# Masks cost time, which smaller images, one block and 3 groups make up for.
model = dict(
    data_preprocessor=dict(pad_mask=True, pad_size_divisor=8),
    backbone=dict(
        arch='tiny',
        img_size=image_w,
        num_windows=1,  # no windows
        out_indices=(0, ),
        global_attn_indices=(0, )),
    neck=dict(in_channels=[192]),
    bbox_head=dict(
        type='RFDETRInsHead',
        num_classes=3,
        num_queries=20,
        mask_upsample_ratio=2.0,  # a mask cell is a square of 4 px
        loss_mask=dict(
            type='CrossEntropyLoss', use_sigmoid=True, loss_weight=5.0),
        loss_dice=dict(
            type='DiceLoss', naive_dice=True, eps=1.0, loss_weight=5.0)),
    train_cfg=dict(
        assigner=dict(match_costs=[
            dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
            dict(type='FocalLogitCost', weight=2.0),
            dict(type='IoUCost', iou_mode='giou', weight=2.0),
            dict(type='CrossEntropyLossCost', use_sigmoid=True, weight=5.0),
            dict(type='DiceCost', pred_act=True, eps=1.0, weight=5.0)
        ]),
        cells_per_point=4))  # small masks, so more of their cells
tta_model = None

train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[1].with_mask = True
train_pipeline[2].scale = (image_w, image_h)
test_pipeline[1].scale = (image_w, image_h)

data_root = 'data/tiny_masks/'
data = dict(
    data_root=data_root, metainfo=dict(classes=('red', 'green', 'blue')))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **data))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **data))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline, **data))
val_evaluator = dict(ann_file=data_root + 'val.json', metric=['bbox', 'segm'])
test_evaluator = dict(
    ann_file=data_root + 'test.json', metric=['bbox', 'segm'])

train_cfg = dict(max_epochs=max_epochs, val_interval=8)
default_hooks = dict(checkpoint=dict(save_best='coco/segm_mAP'))
