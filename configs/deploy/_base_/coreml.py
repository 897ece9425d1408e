# coremltools converts PyTorch itself, without ONNX. What mmdeploy calls
# TorchScript is a program of torch.export here.
ir_config = dict(
    type='torchscript',
    save_file='end2end.pt',
    input_names=['input'],
    output_names=['dets', 'labels'],
    # (W, H) in px; None: the size that the model's test pipeline gives.
    input_shape=None)
# 'fp32'; 'fp16': weights and arithmetic of backbone and neck.
backend_config = dict(type='coreml', precision='fp32')
