_base_ = ['../_base_/instance-seg.py', '../_base_/ncnn.py']

onnx_config = None
ir_config = dict(output_names=['dets', 'labels', 'masks'])
