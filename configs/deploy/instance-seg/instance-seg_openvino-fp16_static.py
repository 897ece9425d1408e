_base_ = './instance-seg_openvino_static.py'

backend_config = dict(precision='fp16')
