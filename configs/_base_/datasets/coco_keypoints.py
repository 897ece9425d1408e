# COCO boxes and keypoints of people; all else as in coco_detection.py.
# Whoever changes a pipeline hands it to the data loaders again.
_base_ = './coco_detection.py'

data_root = _base_.data_root
classes = ('person', )
train_file = 'annotations/person_keypoints_train2017.json'
val_file = 'annotations/person_keypoints_val2017.json'

train_pipeline = _base_.train_pipeline
train_pipeline[1] = dict(type='LoadPoseAnnotations', with_bbox=True)
# Exchanges left and right keypoints, which it knows by their names.
train_pipeline[4] = dict(type='PoseRandomFlip', prob=0.5)
train_pipeline[5] = dict(type='PackPoseInputs')
test_pipeline = _base_.test_pipeline
test_pipeline[2] = dict(type='LoadPoseAnnotations', with_bbox=True)
test_pipeline[3].type = 'PackPoseInputs'

train_dataloader = dict(
    dataset=dict(
        ann_file=train_file,
        metainfo=dict(classes=classes),
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        ann_file=val_file,
        metainfo=dict(classes=classes),
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='NamedOksMetric',
    ann_file=data_root + val_file,
    # COCO's for people's 17 keypoints, 0.05 for others
    sigmas=None)
test_evaluator = val_evaluator
