_base_ = './instance-seg_tflite_static.py'

backend_config = dict(precision='fp16')
