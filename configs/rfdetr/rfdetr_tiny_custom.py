# Your own data set, with the smallest model: tools/train.py CONFIG
# --cfg-options data_root=DIR. Made for trying things out on a CPU: the weights
# that it starts from know drawn shapes only, no photographs, and it sees
# 112 x 112 px. For anything else take rfdetr_nano_custom.py.
_base_ = [
    '../_base_/models/rfdetr_tiny.py', '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/adamw_100e.py', '../_base_/default_runtime.py'
]

load_from = 'rfdetr://rf-detr-tiny-shapes.pth'

image_size = 112  # px, a multiple of patch_size * num_windows = 16
model = dict(bbox_head=dict(num_classes=36))
train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[3].scale = (image_size, image_size)
test_pipeline[1].scale = (image_size, image_size)

dataset_layout = 'auto'  # or 'roboflow', 'coco', 'flat', 'yolo'
data_root = 'data/custom/'
empty = dict(data_root='', ann_file='', data_prefix=dict(img=''))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **empty))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **empty))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline, **empty))
val_evaluator = dict(ann_file='')
test_evaluator = dict(ann_file='')
del empty
