# Nano on data in the YOLO layout: data.yaml, images/ and labels/. Set the two
# lines below; for another variant, the base.
_base_ = './rfdetr_nano_coco.py'

data_root = 'data/yolo/'
classes = ('helmet', 'vest')  # the names in data.yaml, in any order

model = dict(bbox_head=dict(num_classes=len(classes)))
dataset = dict(
    _delete_=True,
    type='YoloDataset',
    data_root=data_root,
    ann_file='data.yaml',
    metainfo=dict(classes=classes))
test_pipeline = _base_.test_pipeline
# The metric has no file to read: it gets the truth with every image.
test_pipeline[-1].meta_keys += ('instances', )
train_dataloader = dict(
    dataset=dict(dataset, split='train', pipeline=_base_.train_pipeline))
val_dataloader = dict(
    dataset=dict(
        dataset, split='val', pipeline=test_pipeline, test_mode=True))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=None)
test_evaluator = val_evaluator
