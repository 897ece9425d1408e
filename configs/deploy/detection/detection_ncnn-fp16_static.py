_base_ = './detection_ncnn_static.py'

backend_config = dict(precision='fp16')
