# Nano on Objects365 v2, in the folders of mmdet's own configs.
_base_ = './rfdetr_nano_coco.py'

data_root = 'data/Objects365/Obj365_v2/'
lists = 'annotations/zhiyuan_objv2_'
model = dict(bbox_head=dict(num_classes=365))

train_pipeline = _base_.train_pipeline
# By its own name, because the data set is mmdet's.
train_pipeline[0].type = 'LoadCheckedImage'
dataset = dict(type='Objects365V2Dataset', data_root=data_root)
train_dataloader = dict(
    dataset=dict(
        dataset,
        pipeline=train_pipeline,
        ann_file=lists + 'train.json',
        data_prefix=dict(img='train/')))
val_dataloader = dict(
    dataset=dict(
        dataset, ann_file=lists + 'val.json', data_prefix=dict(img='val/')))
test_dataloader = val_dataloader
val_evaluator = dict(
    type='CocoMetric', ann_file=data_root + lists + 'val.json')
test_evaluator = val_evaluator
