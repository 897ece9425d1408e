_base_ = ['../_base_/detection.py', '../_base_/executorch-int8.py']

onnx_config = None
