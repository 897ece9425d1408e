"""The same training on both sides, in float64, and what must be noticed."""

import dataclasses
import json
import os
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.runner import load_checkpoint
from PIL import Image

pytest.importorskip('rfdetr', reason='the parity oracle is not installed')
pytest.importorskip('pytorch_lightning', reason='rfdetr[train] is missing')

from tests.data_factory import CLASSES, write_layout

pytestmark = pytest.mark.parity

ROOT = Path(__file__).parents[2]
SIZES = [(60, 90), (90, 60), (50, 50), (64, 48)]  # the second has no objects
STEPS = 4
# Each alone must be noticed.
OTHER_RECIPES = {
    'clipping': {'optim_wrapper.clip_grad.max_norm': 0.2},
    'weight decay': {'optim_wrapper.optimizer.weight_decay': 0.01},
    'layer decay': {'optim_wrapper.paramwise_cfg.layer_decay_rate': 0.81},
    'schedule': {'param_scheduler.0.min_factor': 0.01},
    'average': {'custom_hooks.0.decay': 0.9},
}


@pytest.fixture(scope='module')
def tool():
    import compare_training

    return compare_training


@pytest.fixture(scope='module')
def setup(tool, tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    return tool.pair.Setup(
        data=write_layout(root, 'flat', ('train', 'val'), SIZES),
        image_size=64,
        num_queries=12,
        num_groups=2,
        batch_size=2,
        steps=STEPS,
        epochs=2,
        warmup=0.5,
    )


@pytest.fixture(scope='module')
def comparison(tool, setup):
    return tool.compare(setup)


def test_every_loss_and_average_agrees(comparison, tool):
    assert comparison.failures() == []
    losses = tool.pair.loss_errors(comparison.ours, comparison.upstream)
    assert len(losses) == STEPS
    print('losses', losses)
    for kind in ('weights', 'averages'):
        errors = tool.pair.tensor_errors(
            getattr(comparison.ours, kind), getattr(comparison.upstream, kind)
        )
        assert len(errors) > 300
        print(kind, max(errors.values()))
        assert max(errors.values()) <= 1e-6


def test_the_training_does_something(comparison):
    ours = comparison.ours
    # A warm-up from 0, the full rate, and half a cosine down from it.
    assert ours.rates == pytest.approx(
        [0, 1e-4, 0.75 * 1e-4, 0.25 * 1e-4], rel=1e-12
    )
    assert ours.rates == pytest.approx(comparison.upstream.rates, rel=1e-12)
    name = 'bbox_head.cls_branch.weight'
    assert ours.weights[name].dtype == torch.float64
    assert not torch.equal(ours.weights[name], ours.start[name])
    assert not torch.equal(ours.weights[name], ours.averages[name])


def test_both_sides_detect_the_same(tool, setup, comparison, tmp_path):
    start = tmp_path / 'start.pth'
    cfg = tool.pair.our_config(setup, start, tmp_path)
    model = MODELS.build(cfg.model).double()
    model.load_state_dict(comparison.ours.averages)
    module = tool.pair.upstream_module(setup, 2, tmp_path)
    # rfdetr continues from a checkpoint of ours
    given = tmp_path / 'ours.pth'
    torch.save(dict(state_dict=model.state_dict()), given)
    tool.load_weights(module, given, CLASSES, start)
    started = load_checkpoint(model, str(start), strict=True)['state_dict']
    assert not any(
        tool.pair.tensor_errors(comparison.ours.averages, started).values()
    )
    tool.evaluate_ours(model, cfg, tmp_path)
    ours = json.loads((tmp_path / 'detections.bbox.json').read_text())
    tool.evaluate_upstream(module, cfg, tmp_path, model.data_preprocessor)
    theirs = json.loads((tmp_path / 'detections.bbox.json').read_text())
    assert len(ours) == len(theirs) == len(SIZES) * setup.num_queries
    assert {one['category_id'] for one in ours} == {3, 7}
    for mine, other in zip(ours, theirs):
        assert mine.pop('bbox') == pytest.approx(other.pop('bbox'), abs=1e-3)
        assert mine == pytest.approx(other, abs=1e-6)


def test_fewer_cells_than_queries_are_refused(tool, capsys):
    """There rfdetr does something else, see the README."""
    given = ['--data', '.', '--image-size', '64']
    with pytest.raises(SystemExit):
        tool.parse_args([*given, '--num-queries', '17'])
    assert 'makes 16 cells' in capsys.readouterr().err
    assert tool.parse_args([*given, '--num-queries', '16']).image_size == 64


def test_a_checkpoint_of_other_sizes_is_one_line(tool, comparison, tmp_path):
    given = tmp_path / 'given.pth'
    torch.save(dict(state_dict=comparison.ours.start), given)

    class Module:
        model = torch.nn.Linear(1, 1)

    with pytest.raises(SystemExit, match='--num-queries') as stop:
        tool.load_weights(Module, given, CLASSES, tmp_path / 'start.pth')
    assert '\n' not in str(stop.value)


@pytest.mark.parametrize(
    'changed',
    [
        name
        if name == 'clipping'
        else pytest.param(name, marks=pytest.mark.slow)
        for name in OTHER_RECIPES
    ],
)
def test_another_recipe_is_noticed(changed, tool, setup, comparison, tmp_path):
    start = tmp_path / 'start.pth'
    torch.save(dict(state_dict=comparison.ours.start), start)
    cfg = tool.pair.our_config(setup, start, tmp_path, OTHER_RECIPES[changed])
    ours, _, _ = tool.pair.train_ours(cfg, setup)
    other = tool.pair.Comparison(setup, ours, comparison.upstream)
    assert other.failures(), changed


def test_report(comparison, tool, tmp_path, capsys):
    args = tool.parse_args(['--data', 'DIR', '--out', str(tmp_path / 'out')])
    tool.write_report(comparison, args, ['too far'])
    out = tmp_path / 'out'
    content = json.loads((out / 'report.json').read_text())
    assert content['failures'] == ['too far']
    assert len(content['losses']['rfdetr_mm']) == STEPS
    assert content['machine']['packages']['rfdetr'] == '1.11.2'
    table = (out / 'report.md').read_text()
    assert f'\n| {STEPS} | ' in table
    assert min(Image.open(out / 'report.png').size) > 300
    assert 'FAILED: too far' in capsys.readouterr().out


def test_too_few_images_are_one_line(tool, setup, tmp_path):
    options = ['--data', str(setup.data), '--out', str(tmp_path)]
    sizes = ['--image-size', '64', '--num-queries', '12', '--num-groups', '2']
    with pytest.raises(SystemExit, match='need 60 training images') as stop:
        tool.main(options + sizes)
    assert '\n' not in str(stop.value)
    assert 'has 4' in str(stop.value)


@pytest.mark.slow
def test_float32_beside_the_drift_of_rfdetr(tool, setup):
    single = dataclasses.replace(setup, double=False)
    comparison = tool.compare(single, noise=1e-6, evaluate=True)
    assert comparison.failures() == []
    for other in (comparison.ours, comparison.noisy):
        errors = tool.pair.loss_errors(other, comparison.upstream)
        print(errors)
        assert 0 < max(errors) < 1e-3
    assert sorted(comparison.precision) == [
        'rfdetr, after',
        'rfdetr, before',
        'rfdetr_mm, after',
        'rfdetr_mm, before',
    ]


@pytest.mark.slow
@pytest.mark.skipif(
    'RFDETR_MM_COCO' not in os.environ,
    reason='RFDETR_MM_COCO names no data set',
)
def test_thirty_steps_on_photographs(tool, tmp_path):
    data = os.environ['RFDETR_MM_COCO']
    assert tool.main(['--data', data, '--out', str(tmp_path)]) == 0
