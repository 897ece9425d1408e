# mmdet's OC-SORT with RF-DETR as detector (pip install lap).
_base_ = './sort_rfdetr_tiny-clip.py'

model = dict(
    type='OCSORT',
    tracker=dict(
        _delete_=True,
        type='OCSORTTracker',
        motion=dict(type='KalmanFilter'),
        obj_score_thr=0.3,
        init_track_thr=0.6,
        weight_iou_with_det_scores=False,
        match_iou_thr=0.3,
        num_tentatives=3,
        vel_consist_weight=0.2,
        vel_delta_t=3,
        num_frames_retain=30))
