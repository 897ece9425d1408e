custom_imports = dict(imports=['rfdetr_mm'], allow_failed_imports=False)
default_scope = 'mmdet'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # Safe to stop at any moment; --resume goes on from the last checkpoint.
    # With val_cfg.type=TwoWeightsValLoop, save_best="[coco/bbox_mAP,
    # plain/coco/bbox_mAP]" keeps the best averaged and the best plain weights.
    checkpoint=dict(
        type='SafeCheckpointHook',
        interval=1,
        max_keep_ckpts=2,
        save_best='coco/bbox_mAP',
        rule='greater'),
    # Ends a training whose loss is nan or inf so often in a row.
    finite_loss=dict(type='FiniteLossHook', patience=10),
    # One row for each epoch in metrics.csv.
    metrics_csv=dict(type='MetricsCsvHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # The threshold of predict() and of the command line.
    visualization=dict(type='DetVisualizationHook', score_thr=0.5))

custom_hooks = [
    # Validation, checkpoints and tests see averaged weights. Step 1 of the
    # optimizer is copied; after step n = 2, 3, ... the average keeps the part
    # decay * (1 - exp(-n / tau)) of itself.
    dict(
        type='OptimStepEMAHook', ema_type='WarmupEMA', decay=0.993, tau=100),
    # Keeps class rows, class names and num_classes in step.
    dict(type='ClassRowsHook')
]

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(
    type='ReadableDetVisualizer',
    vis_backends=vis_backends,
    name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)

log_level = 'INFO'
load_from = None
resume = False
