"""One threshold, and one unit on pictures, wherever detections are shown."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.structures import InstanceData

from rfdetr_mm.apis import RFDETR, RFDETRInferencer
from rfdetr_mm.apis.video import annotate_video
from rfdetr_mm_light.command_line.main import build_parser
from rfdetr_mm_light.scores import SCORE_THRESHOLD, score_label

ROOT = Path(__file__).parents[2]


def default_of(function, name):
    return inspect.signature(function).parameters[name].default


def test_one_threshold(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'demo')
    from image_demo import parse_args

    config = Config.fromfile(ROOT / 'configs/_base_/default_runtime.py')
    found = [
        default_of(RFDETR.predict, 'threshold'),
        default_of(annotate_video, 'pred_score_thr'),
        build_parser().parse_args(['predict', 'a.jpg']).threshold,
        config.default_hooks.visualization.score_thr,
        parse_args(['a.jpg', 'rfdetr_nano_coco']).pred_score_thr,
    ]
    assert found == [SCORE_THRESHOLD] * 5


@pytest.mark.parametrize('given', [(), (1, False, False, 0, False, True, 0.2)])
def test_the_inferencer_has_it_as_well(monkeypatch, given):
    from mmdet.apis import DetInferencer

    seen = []

    def call(
        self, inputs, batch_size=1, return_vis=False, show=False, wait_time=0,
        no_save_vis=False, draw_pred=True, pred_score_thr=0.3,
    ):  # fmt: skip
        seen.append(pred_score_thr)

    monkeypatch.setattr(DetInferencer, '__call__', call)
    inferencer = RFDETRInferencer.__new__(RFDETRInferencer)
    inferencer('a.jpg', *given)
    assert seen == [given[-1] if given else SCORE_THRESHOLD]


@pytest.mark.parametrize('score', [0.873, 0.5, 1.0])
def test_labels_are_those_of_mmdets_visualizer(monkeypatch, score):
    texts = []
    visualizer = DetLocalVisualizer(name=f'scores_{score}')
    visualizer.set_image(np.zeros((20, 30, 3), np.uint8))
    monkeypatch.setattr(
        visualizer, 'draw_texts', lambda text, *a, **k: texts.append(text)
    )
    found = InstanceData(
        bboxes=np.array([[1.0, 1, 9, 9]]),
        labels=np.array([0]),
        scores=np.array([score]),
    )
    visualizer._draw_instances(
        np.zeros((20, 30, 3), np.uint8), found, ['cat'], None
    )
    assert texts == [score_label('cat', score)]
