_base_ = './detection_openvino_dynamic.py'

backend_config = dict(compress_to_fp16=True)
