# RF-DETR's head with masks over a ResNet.
_base_ = ['../_base_/models/rfdetr_seg.py', './_base_/tiny_shapes.py']

num_queries = 100  # an image of 128 x 96 px has 192 + 48 + 12 cells
model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    backbone=dict(
        _delete_=True, type='ResNet', depth=50, out_indices=(1, 2, 3)),
    neck=dict(
        _delete_=True,
        type='ChannelMapper',
        in_channels=[512, 1024, 2048],
        kernel_size=1,
        out_channels=256,
        act_cfg=None,
        norm_cfg=dict(type='GN', num_groups=32),
        num_outs=3),
    bbox_head=dict(
        num_classes=_base_.num_classes,
        num_queries=num_queries,
        num_groups=5,
        decoder=dict(num_layers=3, num_levels=3),
        # The first map has stride 8, a mask cell is 4 px wide.
        mask_upsample_ratio=2.0),
    test_cfg=dict(max_per_img=num_queries))

train_pipeline = _base_.train_pipeline
train_pipeline[1].with_mask = True
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_evaluator = dict(metric=['bbox', 'segm'])
test_evaluator = dict(metric=['bbox', 'segm'])
