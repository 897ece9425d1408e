# The model of the demo from scratch as a supernet of 3 * 3 * 2 * 3 * 2 = 108 sub-networks, on the
# shapes that `python demo/tiny_shapes.py data/tiny_shapes` draws.
_base_ = '../rfdetr/rfdetr_tiny_shapes-scratch.py'

search_space = dict(
    resolutions=[(48, 64), (72, 96), (96, 128)],  # px, (height, width)
    patch_sizes=[6, 8, 12],
    num_windows=[1, 2],
    num_decoder_layers=[0, 1, 2],
    num_queries=[10, 20])
find_unused_parameters = True

largest_w = 132  # px: 128, rounded for patches of 6 px in 2 windows
largest_h = 96
model = dict(
    subnet='96x128-p8-w2-d2-q20',
    bbox_head=dict(num_queries=20, num_groups=5),
    data_preprocessor=dict(
        pad_size_divisor=1, batch_augments=[dict(type='BatchSubnetResize')]))

train_pipeline = _base_.train_pipeline
train_pipeline[2] = dict(
    type='RFDETRResize', scale=(largest_w, largest_h), kernel='validation')
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

custom_hooks = _base_.custom_hooks + [dict(type='SubnetHook')]

train_cfg = dict(max_epochs=42, val_interval=14)
