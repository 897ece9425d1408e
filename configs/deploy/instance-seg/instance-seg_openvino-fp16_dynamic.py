_base_ = './instance-seg_openvino_dynamic.py'

backend_config = dict(precision='fp16')
