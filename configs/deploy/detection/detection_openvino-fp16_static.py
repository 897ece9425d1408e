_base_ = './detection_openvino_static.py'

backend_config = dict(precision='fp16')
