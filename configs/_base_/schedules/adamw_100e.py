# Upstream's recipe for fine-tuning: AdamW, 100 epochs at a constant rate.
# Learning rates (RFDETROptimWrapperConstructor): 1e-4 for neck and head,
# times 0.7 for the decoder layers, times 1.5 * 0.7**2 * 0.8**depth for the
# backbone, depth counted from its last layer.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='RFDETROptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4),
    paramwise_cfg=dict(
        backbone_lr_mult=1.5, layer_decay_rate=0.8, component_decay_rate=0.7),
    clip_grad=dict(max_norm=0.1, norm_type=2))

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# The drop comes after epoch 100: a longer run ends at a tenth of the rate.
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, milestones=[100], gamma=0.1)
]

# Off unless --auto-scale-lr is given. The rate above was tuned by upstream
# for 16 images per step: 4 images times 4 accumulated steps or GPUs.
auto_scale_lr = dict(enable=False, base_batch_size=16)
