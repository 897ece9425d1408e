# Keeps the checkpoint of the best keypoints instead of the best boxes, paints
# skeletons, and counts objects, not batches, where gradients are accumulated.
_base_ = './default_runtime.py'

default_hooks = dict(checkpoint=dict(save_best='coco/keypoint_mAP'))
visualizer = dict(type='PoseLocalVisualizer')
custom_hooks = _base_.custom_hooks + [dict(type='ObjectAccumulationHook')]
