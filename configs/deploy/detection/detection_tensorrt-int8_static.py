_base_ = ['../_base_/detection.py', '../_base_/tensorrt-int8.py']
