import importlib.util
import json
from pathlib import Path

import pytest
from PIL import Image

PATH = Path(__file__).parents[3] / 'tools/analysis_tools/plot_log.py'


@pytest.fixture(scope='module')
def plot_log():
    spec = importlib.util.spec_from_file_location('plot_log', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_log(work_dir: Path, name: str, records: list[dict]) -> None:
    file = work_dir / name / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text('\n'.join(map(json.dumps, records)))


def part(first: int, last: int, offset: float) -> list[dict]:
    return [dict(loss=offset + s, lr=0.1, step=s) for s in range(first, last)]


def test_a_resumed_part_replaces_what_it_repeats(tmp_path, plot_log):
    ap = 'coco/bbox_mAP'
    write_log(tmp_path, '20260101_1', part(1, 6, 0) + [{ap: 0.1, 'step': 1}])
    write_log(tmp_path, '20260101_2', part(4, 7, 90) + [{ap: 0.2, 'step': 2}])
    write_log(tmp_path, '20260101_3', [{ap: 0.9, 'step': 0}])  # a test run
    train, val = plot_log.read_records(tmp_path)
    assert [record['step'] for record in train] == [1, 2, 3, 4, 5, 6]
    assert [record['loss'] for record in train] == [1, 2, 3, 94, 95, 96]
    assert [record[ap] for record in val] == [0.1, 0.2]


def test_validations_follow_the_training(tmp_path, plot_log):
    """A run is resumed in epoch 3 twice, once only to validate."""
    ap = 'coco/bbox_mAP'
    epochs = [dict(loss=1.0, step=10 * e, epoch=e) for e in (1, 2, 3)]
    old = [{ap: 0.1, 'step': 1}, {ap: 0.2, 'step': 2}, {ap: 0.3, 'step': 3}]
    write_log(tmp_path, '20260101_1', epochs + old)
    # Resumed behind epoch 2: validates that again, then trains.
    write_log(tmp_path, '20260101_2', [{ap: 0.25, 'step': 2}] + epochs[2:])
    write_log(tmp_path, '20260101_3', [{ap: 0.4, 'step': 3}])
    train, val = plot_log.read_records(tmp_path)
    assert [record['step'] for record in train] == [10, 20, 30]
    assert [record[ap] for record in val] == [0.1, 0.25, 0.4]
    # A run that starts anew has no AP yet.
    write_log(tmp_path, '20260101_4', epochs[:1])
    assert plot_log.read_records(tmp_path) == (epochs[:1], [])


def test_a_line_cut_by_a_kill_is_left_out(tmp_path, plot_log):
    write_log(tmp_path, '20260101_1', part(1, 4, 0))
    log = next(tmp_path.rglob('scalars.json'))
    log.write_text(log.read_text()[:-5])
    train, _ = plot_log.read_records(tmp_path)
    assert [record['step'] for record in train] == [1, 2]
    log.write_text('{"loss": 1\n' + log.read_text())  # no cut: damaged
    with pytest.raises(json.JSONDecodeError):
        plot_log.read_records(tmp_path)


def test_running_mean(plot_log):
    assert plot_log.running_mean([4.0, 2.0, 6.0], 2) == [4.0, 3.0, 4.0]


def labels(axis) -> list[str]:
    return [text.get_text() for text in axis.get_legend().get_texts()]


def test_picture_says_what_it_shows(tmp_path, plot_log):
    train = part(1, 60, 5)
    for record in train:
        record.update(base_lr=1e-4, lr=2e-6)
    val = [
        {'coco/bbox_mAP': 0.123, 'plain/coco/bbox_mAP': 0.1, 'step': 1},
        {'coco/bbox_mAP': 0.1, 'plain/coco/bbox_mAP': 0.2, 'step': 2},
    ]
    figure = plot_log.plot(train, val, 'my run')
    loss_axis, lr_axis, ap_axis = figure.axes
    assert figure.get_suptitle() == 'my run'
    assert loss_axis.get_xlabel() == lr_axis.get_xlabel() == 'iteration'
    assert labels(loss_axis) == ['as logged', 'mean of the last 2']
    assert labels(lr_axis) == [
        'lr: first group, with layer decay the lowest of the backbone',
        'base_lr: neck and head',
    ]
    rates = [line.get_ydata()[0] for line in lr_axis.get_lines()]
    assert rates == [2e-6, 1e-4] and lr_axis.get_yscale() == 'log'
    assert 'points' in ap_axis.get_ylabel()
    assert labels(ap_axis) == [
        'AP, best 12.3 at epoch 1',
        'AP without averaging, best 20.0 at epoch 2',
    ]


def test_logs_of_other_configs(plot_log):
    """One parameter group, no rate, no validation."""
    train = part(1, 4, 0)
    _, lr_axis = plot_log.plot(train, [], 'a').axes
    assert labels(lr_axis) == ['lr']
    for record in train:
        del record['lr']
    (loss_axis,) = plot_log.plot(train, [], 'a').axes
    assert loss_axis.get_ylabel() == 'training loss'


def test_a_picture_is_written(tmp_path, plot_log):
    write_log(tmp_path, '20260101_1', part(1, 4, 0))
    out = plot_log.main(
        [str(tmp_path), '--out', str(tmp_path / 'a' / 'b.png')]
    )
    assert min(Image.open(out).size) > 300


@pytest.mark.parametrize('log', [None, [{'coco/bbox_mAP': 0.1, 'step': 0}]])
def test_no_training_log_is_one_line(tmp_path, plot_log, log):
    if log:
        write_log(tmp_path, '20260101_1', log)
    with pytest.raises(SystemExit, match='scalars.json, but') as stopped:
        plot_log.main([str(tmp_path)])
    assert '\n' not in str(stopped.value)


@pytest.mark.parametrize('number', [1, 2, 200])
def test_few_and_many_records(plot_log, number):
    """One point is seen, two are joined, two hundred are not a caterpillar."""
    train = part(1, number + 1, 0)
    val = [{'coco/bbox_mAP': 0.1, 'step': e + 1} for e in range(number)]
    figure = plot_log.plot(train, val, 'run')
    for axis in (figure.axes[0], figure.axes[-1]):
        line = axis.get_lines()[0]
        assert len(line.get_xdata()) == number
        marker = line.get_marker()
        assert (marker in ('None', None, '')) == (number == 200)
    ticks = figure.axes[-1].get_xlim()
    assert ticks == (0.5, number + 0.5)
    figure.canvas.draw()


def test_every_single_loss_and_the_memory(plot_log):
    train = part(1, 30, 5)
    for record in train:
        record.update(
            {
                'loss_cls': 1.0,
                'd0.loss_cls': 2.0,
                'loss_bbox': 0.1,
                'enc_loss_bbox': 0.0,
                'memory': 900,
                'grad_norm': 3.0,
            }
        )
    figure = plot_log.plot(train, [], 'run')
    _, single, _, memory = figure.axes
    assert labels(single) == ['loss_bbox', 'loss_cls']
    assert len(single.get_lines()) == 4
    assert single.get_yscale() == 'log'
    by_colour = {line.get_color() for line in single.get_lines()}
    assert len(by_colour) == 2
    assert memory.get_ylabel() == 'peak GPU memory in MB'
    assert set(memory.get_lines()[0].get_ydata()) == {900}


def test_masks_keypoints_and_plain_weights(plot_log):
    names = ('coco/bbox_mAP', 'coco/segm_mAP', 'plain/coco/keypoint_mAP')
    val = [dict.fromkeys(names, 0.25) | {'step': 1}]
    *_, axis = plot_log.plot(part(1, 4, 0), val, 'run').axes
    assert labels(axis) == [
        'AP, best 25.0 at epoch 1',
        'mask AP, best 25.0 at epoch 1',
        'keypoint AP without averaging, best 25.0 at epoch 1',
    ]
    styles = [line.get_linestyle() for line in axis.get_lines()]
    assert styles == ['-', '-', '--']


def test_losses_of_validation(tmp_path, plot_log):
    names = ('val/loss', 'val/loss_cls', 'val/d0.loss_cls', 'plain/val/loss')
    val = [dict.fromkeys(names, 0.5) | {'step': e} for e in (1, 2)]
    write_log(tmp_path, '20260101_1', part(1, 4, 0) + val)
    train, found = plot_log.read_records(tmp_path)
    assert len(found) == 2  # without any metric as well
    *_, axis = plot_log.plot(train, found, 'run').axes
    assert axis.get_ylabel() == 'losses of validation'
    assert labels(axis) == ['loss without averaging', 'loss', 'loss_cls']
    assert axis.get_yscale() == 'log'
    styles = [line.get_linestyle() for line in axis.get_lines()]
    assert styles == ['--', '-', '-']


def test_no_point_is_on_the_edge(plot_log):
    train = part(1, 4, 0)
    for record in train:
        record['memory'] = 6000
    val = [{'coco/bbox_mAP': 0.5, 'step': 1}]
    figure = plot_log.plot(train, val, 'run')
    *_, memory, precision = figure.axes
    assert memory.get_ylim() == (0, pytest.approx(6600))
    assert precision.get_ylim() == (0, pytest.approx(55))
