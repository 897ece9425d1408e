# 'fp32'; 'fp16': matrix products; 'int8-dynamic': weights, and activations
# while it runs; 'int8': activations by their ranges over calibration images.
backend_config = dict(type='onnxruntime', precision='fp32')
