_base_ = './detection.py'

# Of each query, keypoints of all classes: eight numbers each, x and y over
# the size of the input.
onnx_config = dict(output_names=['dets', 'labels', 'keypoints'])
