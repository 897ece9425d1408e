# Nano on PASCAL VOC: trains on trainval of 2007, tests on its test set. For
# data of your own in this layout set data_root, the lists and classes.
_base_ = './rfdetr_nano_coco.py'

data_root = 'data/VOCdevkit/'
model = dict(bbox_head=dict(num_classes=20))

dataset = dict(
    _delete_=True,
    type='VOCDataset',
    data_root=data_root,
    data_prefix=dict(sub_data_root='VOC2007/'))
lists = 'VOC2007/ImageSets/Main/'
train_pipeline = _base_.train_pipeline
# By its own name, because the data set is mmdet's.
train_pipeline[0].type = 'LoadCheckedImage'
test_pipeline = _base_.test_pipeline
# The metric has no file to read: it gets the truth with every image.
test_pipeline[-1].meta_keys += ('instances', )
train_dataloader = dict(
    dataset=dict(
        dataset, ann_file=lists + 'trainval.txt', pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        dataset,
        ann_file=lists + 'test.txt',
        pipeline=test_pipeline,
        test_mode=True))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=None)
test_evaluator = val_evaluator
