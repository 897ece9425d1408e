custom_imports = dict(imports=['rfdetr_mm'], allow_failed_imports=False)
default_scope = 'mmdet'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook',
        interval=1,
        max_keep_ckpts=2,
        save_best='coco/bbox_mAP',
        rule='greater'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='DetVisualizationHook'))

custom_hooks = [
    # Validation, checkpoints and tests see averaged weights. After step n the
    # average keeps the part 0.993 * (1 - exp(-n / 100)) of itself, upstream's
    # formula for n = 2, 3, ...; at n = 1 mmengine copies the weights where
    # upstream keeps 1 % of the initial ones, which by step 3 is below 1e-5.
    dict(
        type='EMAHook',
        ema_type='ExpMomentumEMA',
        momentum=0.007,
        gamma=100,
        update_buffers=True),
    # Keeps class rows, class names and num_classes in step.
    dict(type='ClassRowsHook')
]

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(
    type='DetLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)

log_level = 'INFO'
load_from = None
resume = False
