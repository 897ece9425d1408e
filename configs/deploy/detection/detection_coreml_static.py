_base_ = ['../_base_/detection.py', '../_base_/coreml.py']

onnx_config = None
