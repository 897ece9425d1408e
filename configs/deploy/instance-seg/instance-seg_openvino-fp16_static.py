_base_ = './instance-seg_openvino_static.py'

backend_config = dict(compress_to_fp16=True)
