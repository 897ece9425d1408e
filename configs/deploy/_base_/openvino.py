# precision: of the weights. 'fp16' only stores them so, 'int8' computes in it.
# inference_precision: what OpenVINO is told to compute in, 'f32', 'bf16' or
# 'f16'; None leaves it to OpenVINO, which takes bf16 on a CPU that has it.
backend_config = dict(
    type='openvino', precision='fp32', inference_precision='f32')
