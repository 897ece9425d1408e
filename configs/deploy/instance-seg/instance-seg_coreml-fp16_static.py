_base_ = './instance-seg_coreml_static.py'

backend_config = dict(precision='fp16')
