# COCO boxes, every image resized to a square. scale=None stands for the
# image size, which a variant sets in both pipelines. It then hands them to
# the data loaders again: those keep a copy of what they were given here.
# Data set and metric match classes by name and check the annotation files.
dataset_type = 'NamedCocoDataset'
data_root = 'data/coco/'
backend_args = None

# Upstream decodes by Pillow and ignores the EXIF orientation, and so do the
# width, height and boxes in COCO files. NamedCocoDataset and YoloDataset take
# this loader as LoadCheckedImage; mmdet's DetInferencer and tools look for the
# name written here. With another data set write type='LoadCheckedImage' for
# the training loader, whose options mmcv's own does not have. In
# training, files that cannot be read are skipped with a warning, and JPEG
# files are decoded at 1/2, 1/4 or 1/8 of their size as long as both sides keep
# draft_size: the largest scale of the pipeline, crops included.
load_image = dict(
    type='LoadImageFromFile',
    color_type='color_ignore_orientation',
    imdecode_backend='pillow',
    backend_args=backend_args)
load_train_image = dict(
    load_image,
    skip_unreadable=True,
    draft_size=600)  # px
square_resize = dict(type='RFDETRResize', scale=None, kernel='validation')
# The same filter, faster; single pixels differ by one grey level.
train_resize = dict(square_resize, kernel='training')

train_pipeline = [
    load_train_image,
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='RandomApply',
        prob=0.5,
        transforms=[
            # Short side of 400, 500 or 600 px, however long the other is.
            dict(
                type='RandomChoiceResize',
                scales=[(400, 100000), (500, 100000), (600, 100000)],
                resize_type='RFDETRResize',
                kernel='training',
                keep_ratio=True),
            dict(type='RandomSquareCrop', min_side=384, max_side=600)
        ]),
    train_resize,
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')
]
test_pipeline = [
    load_image,
    square_resize,
    # Only for drawing the truth; without annotations, leave it out.
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                   'scale_factor'))
]
del load_image, load_train_image, square_resize, train_resize

train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        # Images without objects teach the background.
        filter_cfg=dict(filter_empty_gt=False),
        pipeline=train_pipeline,
        backend_args=backend_args))
val_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
        pipeline=test_pipeline,
        backend_args=backend_args))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='NamedCocoMetric',
    ann_file=data_root + 'annotations/instances_val2017.json',
    metric='bbox',
    # At most 100 detections per image for every number, as COCO's own tables;
    # mmdet's default counts 1000 for AP50, AP75 and AP by size.
    proposal_nums=(1, 10, 100),
    format_only=False,
    backend_args=backend_args)
test_evaluator = val_evaluator
