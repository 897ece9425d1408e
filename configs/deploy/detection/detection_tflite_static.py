_base_ = ['../_base_/detection.py', '../_base_/tflite.py']

onnx_config = None
