# ExecuTorch lowers PyTorch itself, without ONNX, and XNNPACK runs it on the
# CPU. What mmdeploy calls TorchScript is a program of torch.export here.
ir_config = dict(
    type='torchscript',
    save_file='end2end.pt',
    input_names=['input'],
    output_names=['dets', 'labels'],
    # (W, H) in px; None: the size that the model's test pipeline gives.
    input_shape=None)
# 'fp32'; 'int8-dynamic': weights, and activations while it runs.
backend_config = dict(type='executorch', precision='fp32')
