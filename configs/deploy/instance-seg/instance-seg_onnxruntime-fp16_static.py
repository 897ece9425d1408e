_base_ = './instance-seg_onnxruntime_static.py'

backend_config = dict(precision='fp16')
