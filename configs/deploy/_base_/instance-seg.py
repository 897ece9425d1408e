_base_ = './detection.py'

# Masks are logits at a quarter of the input's size.
onnx_config = dict(output_names=['dets', 'labels', 'masks'])
