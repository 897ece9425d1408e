_base_ = './detection_openvino-int8_static.py'

# Any batch size; height and width stay those of the export.
onnx_config = dict(
    dynamic_axes=dict(
        input={0: 'batch'}, dets={0: 'batch'}, labels={0: 'batch'}))
