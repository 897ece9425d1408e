# As default_runtime.py, and a training ends when its metric has not risen by
# min_delta (0.001 is 0.1 AP points) for patience validations: upstream's
# defaults for early_stopping=True. The metric is that of the averaged weights.
# A resumed run goes on waiting where it was. In another config the same comes
# by --cfg-options default_hooks.early_stopping.type=EarlyStoppingHook
# default_hooks.early_stopping.monitor=coco/bbox_mAP and the values below.
_base_ = ['./default_runtime.py']
default_hooks = dict(
    early_stopping=dict(
        type='EarlyStoppingHook',
        monitor='coco/bbox_mAP',
        rule='greater',
        min_delta=0.001,
        patience=10))
