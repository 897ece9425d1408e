"""Deployment: RF-DETR's parts as graphs, for mmdeploy.

Named in a deploy config, ``codebase_config.module=['rfdetr_mm.deploy']``, it
registers rewriters into mmdeploy's registries. The only room that imports
mmdeploy and ONNX.
"""

from . import (
    backbone,
    coreml,
    detector,
    executorch,
    head,
    keypoints,
    ncnn,
    neck,
    onnx_file,
    onnxruntime,
    openvino,
    symbolics,
    task,
    tensorrt,
    tflite,
)

__all__ = [
    'backbone',
    'coreml',
    'detector',
    'executorch',
    'head',
    'keypoints',
    'ncnn',
    'neck',
    'onnx_file',
    'onnxruntime',
    'openvino',
    'symbolics',
    'task',
    'tensorrt',
    'tflite',
]
