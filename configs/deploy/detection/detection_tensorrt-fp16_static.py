_base_ = './detection_tensorrt_static.py'

backend_config = dict(precision='fp16')
