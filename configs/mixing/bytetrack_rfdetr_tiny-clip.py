# mmdet's ByteTrack with RF-DETR as detector (pip install lap).
_base_ = './sort_rfdetr_tiny-clip.py'

model = dict(
    type='ByteTrack',
    tracker=dict(
        _delete_=True,
        type='ByteTracker',
        motion=dict(type='KalmanFilter'),
        obj_score_thrs=dict(high=0.5, low=0.1),
        init_track_thr=0.6,
        weight_iou_with_det_scores=False,
        match_iou_thrs=dict(high=0.1, low=0.5, tentative=0.3),
        num_frames_retain=30))
