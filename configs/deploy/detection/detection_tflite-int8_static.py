_base_ = ['../_base_/detection.py', '../_base_/tflite-int8.py']

onnx_config = None
