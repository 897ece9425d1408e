_base_ = './detection_onnxruntime_dynamic.py'

backend_config = dict(precision='fp16')
