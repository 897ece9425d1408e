# Keeps the checkpoint of the best keypoints instead of the best boxes.
_base_ = './default_runtime.py'

default_hooks = dict(checkpoint=dict(save_best='coco/keypoint_mAP'))
