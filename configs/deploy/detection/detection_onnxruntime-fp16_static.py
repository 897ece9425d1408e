_base_ = './detection_onnxruntime_static.py'

backend_config = dict(precision='fp16')
