_base_ = ['../_base_/detection.py', '../_base_/executorch.py']

onnx_config = None
