# Keeps the checkpoint of the best masks instead of the best boxes.
_base_ = './default_runtime.py'

default_hooks = dict(checkpoint=dict(save_best='coco/segm_mAP'))
