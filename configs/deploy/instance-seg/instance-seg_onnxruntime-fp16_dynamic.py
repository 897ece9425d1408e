_base_ = './instance-seg_onnxruntime_dynamic.py'

backend_config = dict(precision='fp16')
