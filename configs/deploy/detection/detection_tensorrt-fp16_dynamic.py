_base_ = './detection_tensorrt-fp16_static.py'

# Any batch size; height and width stay those of the export.
onnx_config = dict(
    dynamic_axes=dict(
        input={0: 'batch'}, dets={0: 'batch'}, labels={0: 'batch'}))
# The least, the usual and the largest batch.
backend_config = dict(batch_sizes=(1, 1, 8))
