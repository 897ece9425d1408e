# What all backends share: the ONNX graph and who writes it.
custom_imports = dict(
    imports=['rfdetr_mm', 'rfdetr_mm.deploy'], allow_failed_imports=False)

onnx_config = dict(
    type='onnx',
    export_params=True,
    keep_initializers_as_inputs=False,
    opset_version=17,
    save_file='end2end.onnx',
    input_names=['input'],
    output_names=['dets', 'labels'],
    # (W, H) in px; None: the size that the model's test pipeline gives.
    input_shape=None,
    optimize=False)

codebase_config = dict(
    type='mmdet',
    task='ObjectDetection',
    model_type='end2end',
    module=['rfdetr_mm.deploy'],
    # 'end2end': boxes in px, scores and labels of the best detections.
    # 'raw': normalised boxes and logits of all queries, as rfdetr's exports.
    output_layout='end2end',
    # True: only backbone and neck, output_names=['features'] (one for each
    # map, 'features_0', ... if there are several).
    backbone_only=False,
    batch_size=1)
