"""Points, slopes, going on after a kill, and the report; nothing is timed."""

import json

import numpy as np
import pytest

SIDES = ('rfdetr_mm', 'rfdetr')


@pytest.fixture(scope='module')
def growth():
    import growth

    return growth


@pytest.fixture(scope='module')
def growth_report():
    import growth_report

    return growth_report


def step_of(setting):
    """Ours grows with the image's area, rfdetr's with its side."""
    side = setting['image'] / 384
    return {'rfdetr_mm': side**2, 'rfdetr': side}


@pytest.fixture
def measured(growth, monkeypatch):
    """Stands for the processes that measure; what they were asked for."""
    asked = []

    def call_alone(function, *arguments):
        asked.append((function.__name__, *arguments))
        if function is growth.times_of:
            setting, rounds = arguments
            return {
                side: [seconds] * rounds
                for side, seconds in step_of(setting).items()
            }
        side, _, batch, changed = arguments
        return 1000, 1000 + 100 * batch * step_of(dict(image=changed['size']))[
            side
        ]

    monkeypatch.setattr(growth, 'call_alone', call_alone)
    monkeypatch.setattr(growth, 'check_installed', lambda: None)
    # Drawing takes a second; test_pictures draws.
    monkeypatch.setattr(growth, 'plot', lambda content: None)
    return asked


def test_one_thing_changes_at_a_time(growth):
    for name, axis in growth.AXES.items():
        settings = [growth.setting(name, value) for value in axis.values]
        changed = {
            key
            for key in growth.BASE
            if len({one[key] for one in settings}) > 1
        }
        assert changed == {name}
        assert list(axis.values) == sorted(axis.values)


def test_cells_for_all_queries(growth):
    """With fewer, rfdetr's groups lose their alignment."""
    for name, axis in growth.AXES.items():
        for value in axis.values:
            one = growth.setting(name, value)
            assert one['image'] % 32 == 0
            assert (one['image'] // 16) ** 2 >= one['queries']


def test_the_asked_range(growth):
    ends = {
        name: (axis.values[0], axis.values[-1])
        for name, axis in growth.AXES.items()
    }
    assert ends == dict(
        image=(192, 704),
        batch=(1, 16),
        objects=(0, 300),
        classes=(1, 1000),
        queries=(50, 900),
    )


def test_slope(growth_report):
    x = [0, 1, 2, 4, 8, 16]
    # Flat at first: the upper half alone counts, and 0 has no logarithm.
    y = [5, 5, 5, 4**1.5, 8**1.5, 16**1.5]
    assert growth_report.slope(x, y) == pytest.approx(1.5)
    assert growth_report.slope([3], [4]) is None
    assert growth_report.slope([0, 3], [4, 4]) is None


def test_a_run_goes_on_and_names_what_grows_faster(
    growth, measured, tmp_path, capsys
):
    options = ['--axes', 'image', 'batch', '--rounds', '2']
    options += ['--out', str(tmp_path)]
    growth.main([*options, '--limit', '0'])
    content = json.loads((tmp_path / 'growth.json').read_text())
    assert content['points'] == [] and measured == []
    left_out = len(content['skipped'])
    assert left_out == len(growth.AXES['image'].values) + 5
    assert content['skipped']['batch 1'].endswith('minutes were over')
    assert 'the 0 minutes were over' in capsys.readouterr().out

    growth.main([*options[:2], '--no-memory', *options[3:]])
    number = len(growth.AXES['image'].values)
    assert len(measured) == number

    growth.main(options)
    names = [name for name, *_ in measured[number:]]
    assert names.count('times_of') == 5  # the batches
    assert names.count('peak_of') == 2 * (number + 5)
    text = (tmp_path / 'growth.md').read_text()
    assert (
        'The time of a step grows faster than that of rfdetr with the side '
        'of the image: its exponent is 2.00, that of rfdetr 1.00.'
    ) in text
    assert 'The memory of a step grows faster' in text
    assert 'with the images of a batch' not in text

    del measured[:]
    growth.main(options)
    assert measured == []


def test_a_shared_point_is_measured_once(growth, measured, tmp_path):
    growth.main(
        ['--axes', 'batch', 'objects', 'classes', '--no-memory']
        + ['--rounds', '1', '--out', str(tmp_path)]
    )
    settings = [json.dumps(one[1], sort_keys=True) for one in measured]
    axes = [growth.AXES[name] for name in ('batch', 'objects', 'classes')]
    assert len(settings) == sum(len(axis.values) for axis in axes) - 2
    assert len(set(settings)) == len(settings)


def test_a_point_that_fails_is_left_out(growth, monkeypatch, tmp_path):
    def fails(function, setting, rounds):
        if setting['batch'] > 8:
            raise RuntimeError('-c ended with -9: \nKilled')
        return {side: [1.0] * rounds for side in SIDES}

    monkeypatch.setattr(growth, 'call_alone', fails)
    monkeypatch.setattr(growth, 'check_installed', lambda: None)
    monkeypatch.setattr(growth, 'plot', lambda content: None)
    content = growth.main(
        ['--axes', 'batch', '--no-memory', '--out', str(tmp_path)]
    )
    assert len(content['points']) == 4
    (reason,) = content['skipped'].values()
    assert 'ended with -9' in reason and '\n' not in reason
    assert list(content['skipped']) == ['batch 16, time']


def test_another_machine_wants_another_folder(growth, measured, tmp_path):
    options = ['--axes', 'batch', '--no-memory', '--out', str(tmp_path)]
    growth.main(options)
    path = tmp_path / 'growth.json'
    content = json.loads(path.read_text())
    content['machine']['cpu'] = 'another'
    path.write_text(json.dumps(content))
    with pytest.raises(SystemExit, match='another --out'):
        growth.main(options)


@pytest.mark.parametrize(
    'options, message',
    [
        (['--axes', 'weight'], "invalid choice: 'weight'"),
        (['--rounds', '0'], 'must be positive, got 0'),
    ],
)
def test_bad_input(growth, options, message, capsys):
    with pytest.raises(SystemExit):
        growth.main(options)
    assert message in capsys.readouterr().err


def test_pictures(growth, growth_report, measured, tmp_path):
    content = growth.main(
        ['--axes', 'image', '--rounds', '1', '--out', str(tmp_path)]
    )
    figure = growth_report.plot(content)
    growth.write(tmp_path, 'growth', content, '', figure)
    assert (tmp_path / 'growth.png').stat().st_size > 1000
    time_panel, memory_panel = figure.axes
    for panel in (time_panel, memory_panel):
        ours, theirs = panel.get_lines()[:2]
        for line, exponent in ((ours, 2), (theirs, 1)):
            x, y = np.log(line.get_data())
            assert np.polyfit(x, y, 1)[0] == pytest.approx(exponent)
