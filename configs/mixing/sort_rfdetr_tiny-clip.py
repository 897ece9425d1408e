# mmdet's SORT with RF-DETR as detector, no ReID, on the clip that
# `python demo/tiny_clip.py data/tiny_clip` draws. The detector is the demo's.
_base_ = '../rfdetr/rfdetr_tiny_shapes.py'

detector = _base_.model
preprocessor = detector.pop('data_preprocessor')
model = dict(
    _delete_=True,
    type='DeepSORT',  # without reid: SORT
    data_preprocessor=dict(preprocessor, type='TrackDataPreprocessor'),
    detector=detector,
    tracker=dict(
        type='SORTTracker',
        motion=dict(type='KalmanFilter', center_only=False),
        obj_score_thr=0.5,
        match_iou_thr=0.3,
        reid=None))
tta_model = None

data_root = 'data/tiny_clip/'
load_image, resize = _base_.test_pipeline[:2]
test_pipeline = [
    dict(
        type='TransformBroadcaster',
        transforms=[load_image, resize,
                    dict(type='LoadTrackAnnotations')]),
    dict(type='PackTrackInputs')
]
test_dataloader = dict(
    batch_size=1,
    sampler=dict(_delete_=True, type='TrackImgSampler'),  # frame by frame
    dataset=dict(
        _delete_=True,
        type='BaseVideoDataset',
        data_root=data_root,
        ann_file='clip.json',
        data_prefix=dict(img_path='images/'),
        metainfo=_base_.metainfo,
        test_mode=True,
        pipeline=test_pipeline))
val_dataloader = test_dataloader
# AP of the boxes. MOTA, HOTA and IDF1 are those of MOTChallengeMetric, which
# needs the package trackeval.
test_evaluator = dict(
    _delete_=True,
    type='CocoVideoMetric',
    ann_file=data_root + 'clip.json',
    metric='bbox')
val_evaluator = test_evaluator

# The detector is trained on images, by its own config.
train_dataloader = None
train_cfg = None
optim_wrapper = None
param_scheduler = None
custom_hooks = []
default_hooks = dict(
    visualization=dict(_delete_=True, type='TrackVisualizationHook'))
visualizer = dict(type='TrackLocalVisualizer')
