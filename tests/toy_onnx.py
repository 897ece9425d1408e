"""Tiny ONNX files with the inputs and outputs of exported detectors.

Their boxes are constants; the mean of an image is added to the logits or the
scores, so that an output tells which image it is of.
"""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HW = (4, 6)
CLASSES = ('cat', 'dog')
FACTS = dict(
    task='detection',
    layout='end2end',
    class_names=list(CLASSES),
    mean=[0.0, 0.0, 0.0],
    std=[255.0, 255.0, 255.0],
    channel_order='RGB',
    resize_kernel='predict',
    max_per_img=3,
)
# Two detections of an input of 4 x 6 px, as the layouts have them.
END2END = ([[0, 0, 3, 2, 0.4], [3, 1, 6, 4, 0.2]], [1, 0])
RAW = (
    [[0.25, 0.25, 0.5, 0.5], [0.75, 0.625, 0.5, 0.75]],
    [[-9, 1, -20], [0, -9, -20]],
)
MASKS = np.array([[[1, -1], [-1, -1]], [[-1, -1], [1, 1]]], np.float32)
# Of two objects, padded for two classes with one and two keypoints.
NUM_KEYPOINTS = (1, 2)
_POINT = (0.5, 0.25, 3, 0, 2, 0.5, 1, 0.1)
_OTHER = (0.75, 0.5, -3, 0, 0, 0, 0, 0)
POINTS = np.array(
    [
        [_POINT, [0] * 8, _POINT, _OTHER],
        [_OTHER, [0] * 8, _POINT, _POINT],
    ],
    np.float32,
)


def write_toy(
    path,
    layout='end2end',
    seg=False,
    batch=1,
    facts=FACTS,
    pose=False,
    **given,
):
    """Write a file.

    Args:
        path: The ``.onnx`` file.
        layout: 'end2end' or 'raw'.
        seg: Whether it has masks.
        batch: Its batch size; a name leaves it open.
        facts: Of the metadata; none if empty.
        pose: Whether it has keypoints.
        **given: ``dets``, ``labels`` or ``hw`` instead of the usual ones, and
            ``names`` of the outputs.
    """
    first, second = dict(end2end=END2END, raw=RAW)[layout]
    dets = np.array([given.get('dets', first)], np.float32)
    is_raw = layout == 'raw'
    labels = np.array(
        [given.get('labels', second)], np.float32 if is_raw else np.int64
    )
    # Added with the mean of the image: scores, or the logits of classes.
    moved = np.zeros_like(labels if is_raw else dets)
    moved[..., : 2 if is_raw else None] = 1
    if not is_raw:
        moved[..., :4] = 0
    zero = np.zeros(1, np.float32)
    values = dict(all_dets=dets, all_labels=labels, zero=zero)
    values.update(moved=moved, flat=np.array([-1, 1, 1]))
    values.update(flat2=np.array([-1, 1]))
    node = helper.make_node
    nodes = [
        node('ReduceMean', ['input'], ['mean4'], axes=[1, 2, 3], keepdims=1),
        node('Reshape', ['mean4', 'flat'], ['mean']),
        node('Mul', ['mean', 'moved'], ['move']),
        node('Mul', ['mean', 'zero'], ['nothing']),
        node(
            'Add', ['all_labels' if is_raw else 'all_dets', 'move'], ['moving']
        ),
    ]
    third = 'keypoints' if pose else 'masks'
    names = given.get('names', ('dets', 'labels', third)[: 2 + seg + pose])
    if is_raw:
        nodes += [
            node('Add', ['all_dets', 'nothing'], [names[0]]),
            node('Identity', ['moving'], [names[1]]),
        ]
    else:
        nodes += [
            node('Identity', ['moving'], [names[0]]),
            node('Reshape', ['nothing', 'flat2'], ['nothing2']),
            node('Cast', ['nothing2'], ['none'], to=TensorProto.INT64),
            node('Add', ['all_labels', 'none'], [names[1]]),
        ]
    shapes = [(batch, *dets.shape[1:]), (batch, *labels.shape[1:])]
    if seg or pose:
        third = POINTS if pose else MASKS
        values.update(all_third=third[None], shape=np.array([-1, 1, 1, 1]))
        nodes += [
            node('Reshape', ['nothing', 'shape'], ['nothing4']),
            node('Add', ['all_third', 'nothing4'], [names[2]]),
        ]
        shapes.append((batch, *third.shape))
    value = helper.make_tensor_value_info
    kinds = [TensorProto.FLOAT] * 3
    kinds[1] = TensorProto.FLOAT if is_raw else TensorProto.INT64
    hw = given.get('hw', HW)
    graph = helper.make_graph(
        nodes,
        'toy',
        [value('input', TensorProto.FLOAT, (batch, 3, *hw))],
        [value(*output) for output in zip(names, kinds, shapes)],
        [numpy_helper.from_array(v, k) for k, v in values.items()],
    )
    opset = [helper.make_opsetid('', 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    if facts:
        texts = {
            k: v if isinstance(v, str) else json.dumps(v)
            for k, v in {**facts, 'layout': layout}.items()
        }
        if seg:
            texts['task'] = 'instance-seg'
        if pose:
            texts.setdefault('num_keypoints', json.dumps(NUM_KEYPOINTS))
            texts['task'] = 'keypoints'
        helper.set_model_props(model, texts)
    onnx.save(model, str(path))
    return path
