# 'fp32'; 'fp16': matrix products and convolutions; 'int8': those with weights,
# other products in fp16. Norms, softmax, boxes and sampling stay in fp32.
backend_config = dict(
    type='tensorrt', precision='fp32', max_workspace_size=1 << 30)  # bytes
