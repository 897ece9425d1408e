_base_ = ['../_base_/detection.py', '../_base_/ncnn.py']

onnx_config = None
