_base_ = './instance-seg_ncnn_static.py'

backend_config = dict(precision='fp16')
