# pnnx converts PyTorch itself, without ONNX. What mmdeploy calls TorchScript is
# an archive of two graphs here.
ir_config = dict(
    type='torchscript',
    save_file='end2end.pt',
    input_names=['input'],
    output_names=['dets', 'labels'],
    # (W, H) in px; None: the size that the model's test pipeline gives.
    input_shape=None)
# 'fp32'; 'fp16': weights.
backend_config = dict(type='ncnn', precision='fp32')
