"""What happens between the two graphs of an ncnn model, and after them.

ncnn itself is stood in for: its graphs are functions here.
"""

import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from rfdetr_mm.errors import InputError
from rfdetr_runtime import load
from rfdetr_runtime.sessions.ncnn import DETECTIONS, PROPOSALS, NCNNSession

CELLS, QUERIES, CLASSES, LIMIT = 6, 3, 2, 4
# Equal scores keep the order of the cells: 4, 1, 3.
SCORES = np.array([-5, 2, 0, 2, 7, 1], np.float32)
BOXES = np.arange(CELLS * 4, dtype=np.float32).reshape(CELLS, 4) / 40
TOKENS = np.arange(CELLS * 2, dtype=np.float32).reshape(CELLS, 2)


def proposals(image):
    assert image.shape == (3, 4, 6)
    return SCORES, TOKENS, BOXES


def detections(tokens, boxes):
    np.testing.assert_array_equal(tokens, TOKENS)
    logits = np.array([[0, 1], [2, -1], [1, 3]], np.float32)
    masks = boxes[:, :1, np.newaxis] * np.ones((1, 1, 2), np.float32)
    return boxes, logits, masks


class Net:
    """A net whose graph is the function of its file's name."""

    status = 0

    def __init__(self):
        self.opt = SimpleNamespace()

    def load_param(self, path):
        name = path.rpartition('/')[2].partition('.')[0]
        self.graph = {PROPOSALS: proposals, DETECTIONS: detections}[name]
        return 0

    def load_model(self, path):
        return self.status

    def create_extractor(self):
        return self

    def input(self, name, array):
        number = int(name.removeprefix('in'))
        self.inputs = {**(self.inputs if number else {}), number: array}

    def extract(self, name):
        outputs = self.graph(*self.inputs.values())
        number = int(name.removeprefix('out'))
        return (0, outputs[number]) if number < len(outputs) else (-1, None)


@pytest.fixture
def ncnn(monkeypatch):
    module = ModuleType('ncnn')
    module.Net, module.Mat = type('Net', (Net,), {}), np.array
    monkeypatch.setitem(sys.modules, 'ncnn', module)
    return module


def write(folder, layout, **changed):
    """A model with files that hold nothing."""
    folder.mkdir()
    for name in (PROPOSALS, DETECTIONS):
        for suffix in ('param', 'bin'):
            (folder / f'{name}.ncnn.{suffix}').touch()
    shapes = dict(
        raw=[[1, QUERIES, 4], [1, QUERIES, CLASSES + 1], [1, QUERIES, 1, 2]],
        end2end=[[1, LIMIT, 5], [1, LIMIT], [1, LIMIT, 1, 2]],
    )
    values = dict(
        class_names=['a', 'b'],
        input_shape=[1, 3, 4, 6],
        output_shapes=shapes[layout],
        output_names=['dets', 'labels', 'masks'],
        num_queries=QUERIES,
        max_per_img=LIMIT,
        mean=[0, 0, 0],
        std=[1, 1, 1],
    )
    texts = {name: json.dumps(value) for name, value in values.items()}
    texts.update(
        layout=layout,
        task='instance-seg',
        channel_order='RGB',
        resize_kernel='predict',
        **changed,
    )
    (folder / 'metadata.json').write_text(json.dumps(texts))
    return folder


def test_the_best_cells_go_on_in_their_order(ncnn, tmp_path):
    session = NCNNSession(write(tmp_path / 'a.ncnn', 'raw'))
    outputs = session.run(np.zeros((1, 3, 4, 6), np.float32))
    np.testing.assert_array_equal(outputs['dets'][0], BOXES[[4, 1, 3]])
    assert (
        outputs['masks'][0, :, 0, 0].tolist() == BOXES[[4, 1, 3], 0].tolist()
    )


def test_detections_are_finished_as_other_runtimes_do(ncnn, tmp_path):
    model = load(write(tmp_path / 'a.ncnn', 'end2end'), threads=1)
    assert model.batch_size == 1
    outputs = model.run(np.zeros((2, 3, 4, 6), np.float32))
    # Logits 3, 2, 1, 1: of queries 2, 1, 0 and 2.
    assert outputs['labels'].tolist() == [[1, 0, 1, 0]] * 2
    cells = [3, 1, 4, 3]
    dets = outputs['dets'][0]
    np.testing.assert_allclose(
        dets[:, 4], 1 / (1 + np.exp(-np.array([3.0, 2, 1, 1]))), rtol=1e-6
    )
    center, size = BOXES[cells, :2], BOXES[cells, 2:]
    corners = np.concatenate([center - size / 2, center + size / 2], axis=1)
    wanted = (corners * [6, 4, 6, 4]).clip(0, [6, 4, 6, 4])
    np.testing.assert_allclose(dets[:, :4], wanted, atol=1e-6)
    assert outputs['masks'][0, :, 0, 0].tolist() == BOXES[cells, 0].tolist()


def test_it_computes_in_float32(ncnn, tmp_path):
    session = NCNNSession(write(tmp_path / 'a.ncnn', 'raw'), threads=3)
    for net in (session._proposals, session._detections):
        options = vars(net.opt)
        assert options.pop('num_threads') == 3
        assert set(options.values()) == {False}
        assert {'use_fp16_arithmetic', 'use_bf16_storage'} <= set(options)


def test_weights_that_ncnn_refuses(ncnn, tmp_path):
    ncnn.Net.status = -1
    with pytest.raises(InputError, match='a.ncnn cannot .*refuses propos'):
        NCNNSession(write(tmp_path / 'a.ncnn', 'raw'))


def test_a_model_of_other_outputs(ncnn, tmp_path):
    file = write(tmp_path / 'a.ncnn', 'raw', output_names='["dets"]')
    with pytest.raises(InputError, match='3 outputs with the names'):
        NCNNSession(file)


def test_a_graph_that_lacks_an_output(ncnn, tmp_path, monkeypatch):
    session = NCNNSession(write(tmp_path / 'a.ncnn', 'raw'))
    session._detections.graph = proposals_without_masks
    with pytest.raises(InputError, match='it gives no out2'):
        session.run(np.zeros((1, 3, 4, 6), np.float32))


def proposals_without_masks(tokens, boxes):
    return boxes, boxes


def test_a_model_that_does_not_say_its_shapes(ncnn, tmp_path):
    file = write(tmp_path / 'a.ncnn', 'raw', num_queries='x')
    with pytest.raises(InputError, match='cannot be read as an ncnn model'):
        NCNNSession(file)
    (file / 'metadata.json').write_text('{"layout": "raw"}')
    with pytest.raises(InputError, match='say its input_shape, output_shap'):
        NCNNSession(file)
