_base_ = './instance-seg_tensorrt_static.py'

backend_config = dict(precision='fp16')
