_base_ = './detection_tflite_static.py'

backend_config = dict(precision='fp16')
