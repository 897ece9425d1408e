# Your own data set: tools/train.py CONFIG --cfg-options data_root=DIR
# train.py and test.py find files, classes and the keypoints of each class in
# DIR and fill in what is empty here; an entry that you set stays. The work dir
# gets the complete config.
_base_ = './rfdetr-pose_preview_coco.py'

load_from = 'rfdetr://rf-detr-keypoint-preview-xlarge.pth'

dataset_layout = 'auto'  # or 'roboflow', 'coco', 'flat', 'yolo'
data_root = 'data/custom/'
# None: the data set names its classes
empty = dict(
    data_root='',
    ann_file='',
    data_prefix=dict(img=''),
    metainfo=dict(classes=None))
train_dataloader = dict(dataset=empty)
val_dataloader = dict(dataset=empty)
test_dataloader = dict(dataset=empty)
val_evaluator = dict(ann_file='')
test_evaluator = dict(ann_file='')
del empty
