_base_ = './instance-seg_tflite_static.py'

backend_config = dict(precision='int8-dynamic')
