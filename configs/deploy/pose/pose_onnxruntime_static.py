_base_ = ['../_base_/pose.py', '../_base_/onnxruntime.py']
