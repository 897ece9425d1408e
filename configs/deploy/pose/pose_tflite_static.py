_base_ = ['../_base_/pose.py', '../_base_/tflite.py']

onnx_config = None
ir_config = dict(output_names=['dets', 'labels', 'keypoints'])
