# mmdet's semi-supervised base around RF-DETR: the student learns from 100
# labelled images and from what the teacher, its moving average, finds in the
# 500 others. Start from a trained detector, e.g. the demo's: load_from=...
_base_ = '../rfdetr/rfdetr_tiny_shapes-scratch.py'

detector = _base_.model
model = dict(
    _delete_=True,
    type='SemiBaseDetector',
    detector=detector,
    data_preprocessor=dict(
        type='MultiBranchDataPreprocessor',
        data_preprocessor=detector.data_preprocessor),
    semi_train_cfg=dict(
        freeze_teacher=True,
        sup_weight=1.0,
        unsup_weight=2.0,
        cls_pseudo_thr=0.5,
        min_pseudo_bbox_wh=(1e-2, 1e-2)),
    semi_test_cfg=dict(predict_on='teacher'))
tta_model = None

branch_field = ['sup', 'unsup_teacher', 'unsup_student']
load_image, load_annotations, resize = _base_.train_pipeline[:3]
pack = dict(
    type='PackDetInputs',
    meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor',
               'flip', 'flip_direction', 'homography_matrix'))
flip = dict(type='RandomFlip', prob=0.5)
sup_pipeline = [
    load_image, load_annotations, resize, flip,
    dict(type='MultiBranch', branch_field=branch_field, sup=pack)
]
unsup_pipeline = [
    load_image,
    dict(type='LoadEmptyAnnotations'),
    dict(
        type='MultiBranch',
        branch_field=branch_field,
        unsup_teacher=[resize, flip, pack],
        unsup_student=[
            resize, flip,
            dict(type='PhotoMetricDistortion'),
            dict(type='RandomErasing', n_patches=(1, 3), ratio=(0, 0.2)), pack
        ])
]
dataset = _base_.train_dataloader.dataset
train_dataloader = dict(
    sampler=dict(
        _delete_=True,
        type='GroupMultiSourceSampler',
        batch_size=8,
        source_ratio=[1, 1]),
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            dict(dataset, indices=100, pipeline=sup_pipeline),
            dict(dataset, indices=-500, pipeline=unsup_pipeline)
        ]))
train_cfg = dict(
    _delete_=True, type='IterBasedTrainLoop', max_iters=900, val_interval=300)
val_cfg = dict(type='TeacherStudentValLoop')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=75)
]
default_hooks = dict(
    checkpoint=dict(
        by_epoch=False, interval=300, save_best='teacher/coco/bbox_mAP'))
log_processor = dict(by_epoch=False)
# The teacher is the average: EMAHook would average the average.
custom_hooks = [
    dict(type='MeanTeacherHook', momentum=0.02),
    dict(type='ClassRowsHook'),
    dict(type='NumClassCheckHook')
]
