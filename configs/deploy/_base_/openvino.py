# compress_to_fp16 stores weights as fp16; a CPU computes in fp32 all the
# same, a GPU or NPU in fp16.
backend_config = dict(type='openvino', compress_to_fp16=False)
