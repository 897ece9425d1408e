_base_ = './detection_coreml_static.py'

backend_config = dict(precision='fp16')
