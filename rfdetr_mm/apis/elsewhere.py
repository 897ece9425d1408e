"""Arguments of rfdetr's train() whose place is elsewhere here."""

# Arguments of rfdetr that do nothing any more, there or here.
DEPRECATED = {
    'callbacks': 'mmengine has hooks: custom_hooks of a config',
    'start_epoch': 'resume goes on from the epoch of the checkpoint',
    'do_benchmark': 'benchmarks/ has programs that measure time',
    'eval_ema_only': 'the averaged weights alone are evaluated anyway',
    'fp16_eval': 'evaluation is in float32',
}
# Of these, what is empty or False as well: no saved configuration has them.
NEVER_SAVED = ('start_epoch', 'do_benchmark')
# Arguments of rfdetr whose place is elsewhere here: values that ask for
# what is done anyway, and the reason.
ELSEWHERE: dict[str, tuple[tuple, str]] = {
    'sync_bn': ((False,), 'RF-DETR has no batch norm'),
    'augmentation_backend': (
        ('cpu', 'auto'),
        'the pipeline of a config is free',
    ),
    'aug_config': ((None,), 'configs/_base_/augmentations has the presets'),
    'square_resize_div_64': (
        (True,),
        'configs/rfdetr/rfdetr_nano_keep-ratio_coco.py',
    ),
    'num_classes': ((None,), 'the data set decides on the number of classes'),
    'train_log_sync_dist': (
        (False,),
        'the main process logs its own losses',
    ),
    'compact_train_metrics': (
        (True, False),
        'every layer has its own losses in the log',
    ),
    'compute_train_metrics': ((False,), 'training images are not evaluated'),
    'eval_masks_head_resolution': (
        (False,),
        'masks are evaluated at full size',
    ),
    'num_sanity_val_steps': (
        (0,),
        'tools/test.py CONFIG FILE tries the validation',
    ),
    'dont_save_weights': (
        (False,),
        'default_hooks.checkpoint of a config',
    ),
    'clearml': (
        (False,),
        'ClearMLVisBackend in visualizer.vis_backends of a config',
    ),
    'auto_batch_max_targets_per_image': (
        (100,),
        '--num-objects of tools/analysis_tools/find_batch_size.py',
    ),
    'auto_batch_ema_headroom': (
        (0.7,),
        "batch_size='auto' tries it with the average",
    ),
    'pack_targets': (
        (True, False),
        'objects of a batch are matched together anyway',
    ),
    'pad_targets_to': (
        (None,),
        'it is for TPUs, which mmengine does not train on',
    ),
}
