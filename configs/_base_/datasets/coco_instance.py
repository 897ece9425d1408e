# COCO boxes and masks; all else as in coco_detection.py. Whoever changes a
# pipeline hands it to the data loaders again.
_base_ = './coco_detection.py'

train_pipeline = _base_.train_pipeline
train_pipeline[1].with_mask = True
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

val_evaluator = dict(metric=['bbox', 'segm'])
test_evaluator = val_evaluator
