# Upstream's recipe for fine-tuning: AdamW, 100 epochs at a constant rate.
# Learning rates (RFDETROptimWrapperConstructor): 1e-4 for neck and head,
# times 0.7 for the decoder layers, times 1.5 * 0.7**2 * 0.8**depth for the
# backbone, depth counted from its last layer.
# Gradients of k batches: --cfg-options optim_wrapper.accumulative_counts=k.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='RFDETROptimWrapperConstructor',
    # 'auto': the fused kernel where torch has one.
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4, fused='auto'),
    paramwise_cfg=dict(
        backbone_lr_mult=1.5, layer_decay_rate=0.8, component_decay_rate=0.7),
    clip_grad=dict(max_norm=0.1, norm_type=2))

# EpochBasedTrainLoop that can also be resumed within an epoch.
train_cfg = dict(type='ResumableTrainLoop', max_epochs=100, val_interval=1)
# TwoWeightsValLoop validates the plain weights beside their average.
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# A linear warm-up over this many epochs, and a tenth of the rate from epoch
# 100 on, counted from 0: only a longer run ever gets there.
param_scheduler = [
    dict(
        type='WarmupStepLR', convert_to_iter_based=True, warmup=0, drop=100)
]

# Off unless --auto-scale-lr is given. The rate above was tuned by upstream
# for 16 images per step: 4 images times 4 accumulated steps or GPUs.
auto_scale_lr = dict(enable=False, base_batch_size=16)
