_base_ = './detection_executorch_static.py'

backend_config = dict(precision='int8-dynamic')
