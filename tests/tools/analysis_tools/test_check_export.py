"""The gate: what counts as the same detections, and what fails."""

import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from toy_onnx import FACTS, HW, write_toy

from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.config_facts import set_resolution

TOOLS = Path(__file__).parents[3] / 'tools'
sys.path[:0] = [str(TOOLS), str(TOOLS / 'analysis_tools')]

from check_export import (  # noqa: E402
    Row,
    check_size_of_file,
    find_deploy_config,
    parse_args,
    table,
    to_json,
)
from export_parity import TOP, Difference, is_undecided  # noqa: E402

NO_LIMITS = dict.fromkeys(('box_px', 'score', 'ap', 'mask_iou', 'keypoint_px'))


def detections(count=5, masks=False):
    """Boxes apart from each other, scores descending."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.arange(count)[:, None] * torch.tensor([50.0, 20.0])
    extents = 20 + 20 * torch.rand(count, 2, generator=generator)
    found = InstanceData(
        bboxes=torch.cat([corners, corners + extents], 1),
        scores=torch.linspace(0.9, 0.1, count),
        labels=torch.arange(count) % 3,
    )
    if masks:
        found.masks = torch.zeros(count, 8, 8, dtype=torch.bool)
        found.masks[:, 2:6, 2:6] = True
    return found


def difference(reference, found):
    diff = Difference()
    diff.add(reference, found)
    return diff


def test_equal_detections():
    diff = difference(detections(), detections())
    assert (diff.box_px, diff.score) == (0, 0)
    assert (diff.matched, diff.expected) == (5, 5)
    assert diff.mask_iou is None


def test_order_does_not_count():
    diff = difference(detections(), detections()[[4, 2, 0, 1, 3]])
    assert (diff.box_px, diff.score, diff.matched) == (0, 0, 5)


def test_largest_differences():
    found = detections()
    found.bboxes[2, 1] += 0.5
    found.scores[3] -= 0.01
    diff = difference(detections(), found)
    assert diff.box_px == pytest.approx(0.5)
    assert diff.score == pytest.approx(0.01)
    assert diff.matched == 5


@pytest.mark.parametrize('change', ['label', 'box', 'missing'])
def test_another_object_is_no_match(change):
    found = detections()
    if change == 'label':
        found.labels[1] = 2
    elif change == 'box':
        found.bboxes[1] += 30
    else:
        found = found[[0, 2, 3, 4]]
    diff = difference(detections(), found)
    assert (diff.matched, diff.expected) == (4, 5)


def test_a_tie_at_the_end_is_not_missed():
    """The reference's detections 100 and 101 have the same score."""
    reference = detections(TOP + 1)
    reference.scores[TOP] = reference.scores[TOP - 1]
    keep = [i for i in range(TOP + 1) if i != TOP - 1]
    diff = difference(reference, reference[keep])
    assert diff.matched == diff.expected == TOP - 1
    # Without the tie it is missed.
    reference.scores[TOP] -= 0.001
    diff = difference(reference, reference[keep])
    assert (diff.matched, diff.expected) == (TOP - 1, TOP)


def test_masks():
    found = detections(masks=True)
    found.masks[0, 2] = False  # 12 of 16 pixels are left
    diff = difference(detections(masks=True), found)
    assert diff.mask_iou == pytest.approx((0.75 + 4) / 5)


def test_keypoints_in_any_order_of_scores():
    reference = detections()
    reference.scores = reference.scores.flip(0)
    reference.keypoints = torch.rand(5, 3, 2)
    found = reference[[3, 1, 0, 2, 4]]
    assert difference(reference, found).keypoint_px == 0
    found.keypoints[1, 2, 0] += 0.25
    diff = difference(reference, found)
    assert diff.keypoint_px == pytest.approx(0.25)
    assert (diff.matched, diff.expected, diff.score) == (5, 5, 0)
    together = difference(detections(), detections())
    assert together.keypoint_px is None
    together.merge(diff)
    assert together.keypoint_px == diff.keypoint_px


@pytest.mark.parametrize('empty', ['reference', 'found', 'both'])
def test_images_without_detections(empty):
    first, second = detections(), detections()
    if empty != 'found':
        first = first[:0]
    if empty != 'reference':
        second = second[:0]
    diff = difference(first, second)
    assert diff.matched == 0
    assert diff.expected == (5 if empty == 'found' else 0)


def test_merged_images_count_as_added_ones():
    found = detections()
    found.bboxes[2, 1] += 0.5
    together = difference(detections(), found)
    together.add(detections(), detections())
    merged = difference(detections(), found)
    merged.merge(difference(detections(), detections()))
    merged.merge(Difference(undecided=1))
    assert merged == replace(together, undecided=1)


class Thresholded(torch.nn.Module):
    """Moves its boxes by 2 px where the image's sum is positive."""

    def forward(self, inputs, samples, mode):
        assert mode == 'predict' and len(samples) == 1
        found = detections()
        found.bboxes += 2.0 * (inputs.double().sum() > 0)
        return [SimpleNamespace(pred_instances=found)]


@pytest.mark.parametrize(('left', 'expected'), [(-1.0, True), (-1.01, False)])
def test_only_ties_are_undecided(left, expected):
    """A sum of 0 turns positive or negative with the noise, -0.4 does not."""
    inputs = torch.ones(1, 3, 4, 6)
    inputs[..., :3] = left
    sample = SimpleNamespace(clone=lambda: None)
    limits = dict(box_px=0.05, score=1e-3)
    model, samples = Thresholded(), [sample]
    reference = model(inputs, samples, 'predict')[0].pred_instances
    found = is_undecided(model, inputs, samples, reference, limits)
    assert found == expected


def row(precision='fp32', ap=50.0, **values):
    values = {'expected': 10, 'matched': 10, **values}
    diff = Difference(**values)
    return Row('x', precision, 1.0, dict(bbox=ap), diff, images=10)


REFERENCE = Row('PyTorch', 'fp32', 2.0, dict(bbox=50.0))


@pytest.mark.parametrize(
    ('values', 'failure'),
    [
        (dict(), None),
        (dict(box_px=0.049, score=9e-4, ap=50.09), None),
        (dict(box_px=0.051), 'box_px 0.051'),
        (dict(score=2e-3), 'score 0.002'),
        (dict(matched=9), 'matched 9 of 10'),
        (dict(ap=49.8), 'ap 0.2'),
        (dict(ap=50.2), 'ap 0.2'),
        (dict(mask_ious=[1.0, 0.9]), 'mask_iou 0.95'),
        (dict(keypoint_px=0.051), 'keypoint_px 0.051'),
        (dict(keypoint_px=0.049), None),
        (dict(undecided=5), None),
        (dict(undecided=6), 'undecided 6 of 10 images'),
    ],
)
def test_limits_of_float32(values, failure):
    failures = row(**values).failures(REFERENCE, NO_LIMITS)
    if failure is None:
        assert not failures
    else:
        assert len(failures) == 1 and failure in failures[0]


@pytest.mark.parametrize(
    ('name', 'precision', 'lost', 'limit'),
    [
        ('a.xml', 'int8', 0.59, None),
        ('a.xml', 'int8', 0.61, 0.6),
        ('a.onnx', 'int8', 0.99, None),
        ('a.onnx', 'int8', 1.01, 1),
        ('a.onnx', 'int8-dynamic', 5.0, None),
        ('a.xml', 'fp16', 5.0, None),
    ],
)
def test_limits_of_other_precisions(name, precision, lost, limit):
    poor = row(precision, ap=50 - lost, box_px=9.0, matched=2)
    poor.name = name
    failures = poor.failures(REFERENCE, NO_LIMITS)
    if limit is None:
        assert not failures
    else:
        assert failures == [f'ap {lost:g} (limit {limit:g})']


def test_limits_on_demand():
    poor = row('int8', ap=40.0, box_px=9.0, matched=2)
    (failure,) = poor.failures(REFERENCE, {**NO_LIMITS, 'ap': 5.0})
    assert 'ap 10 (limit 5)' in failure
    assert '| 40.00 (-10.00) |' in table([REFERENCE, poor])
    assert to_json([REFERENCE, poor])[1]['ap'] == dict(bbox=40.0)


def test_options():
    args = parse_args(['c.py', 'w.pth', 'a.onnx', 'b.xml', '--box-px', '1'])
    assert args.files == ['a.onnx', 'b.xml'] and args.box_px == 1.0


def test_a_file_of_another_size_fails():
    """Whatever its detections are: the tests would resize its images."""
    pytest.importorskip('mmdeploy', reason='deployment is not installed')
    path = TOOLS.parent / 'configs' / 'rfdetr' / 'rfdetr_nano_coco.py'
    cfg = Config.fromfile(path)
    deploy_cfg = Config(dict(onnx_config=dict(input_shape=(256, 192))))
    with pytest.raises(InputError, match='192 x 256.*says 384 x 384'):
        check_size_of_file(cfg, Path('a.onnx'), deploy_cfg)
    set_resolution(cfg, (192, 256))
    check_size_of_file(cfg, Path('a.onnx'), deploy_cfg)
    deploy_cfg.onnx_config.input_shape = None  # the test pipeline's
    check_size_of_file(cfg, Path('a.onnx'), deploy_cfg)


@pytest.mark.parametrize('layout', ['end2end', 'raw'])
@pytest.mark.parametrize('facts', [FACTS, {}])
def test_how_a_file_is_read_is_seen_in_it(tmp_path, layout, facts):
    """Also in rfdetr's own files, which have no metadata."""
    pytest.importorskip('mmdeploy', reason='deployment is not installed')
    file = write_toy(tmp_path / 'a.onnx', layout, seg=True, facts=facts)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        path, deploy_cfg, precision = find_deploy_config(str(file))
    assert (path, precision) == (file, 'fp32')
    assert deploy_cfg.codebase_config.output_layout == layout
    assert deploy_cfg.onnx_config.output_names == ['dets', 'labels', 'masks']
    assert deploy_cfg.onnx_config.input_shape == HW[::-1]
