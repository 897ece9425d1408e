# Your own data set: tools/train.py CONFIG --cfg-options data_root=DIR
# train.py and test.py find files and classes in DIR and fill in what is empty
# here; an entry that you set stays. The work dir gets the complete config.
_base_ = './rfdetr-nas_small_coco.py'

# Large, whose four decoder layers become six.
load_from = 'rfdetr://rf-detr-large-2026.pth'

dataset_layout = 'auto'  # or 'roboflow', 'coco', 'flat', 'yolo'
data_root = 'data/custom/'
empty = dict(data_root='', ann_file='', data_prefix=dict(img=''))
train_dataloader = dict(dataset=empty)
val_dataloader = dict(dataset=empty)
test_dataloader = dict(dataset=empty)
val_evaluator = dict(ann_file='')
test_evaluator = dict(ann_file='')
del empty
