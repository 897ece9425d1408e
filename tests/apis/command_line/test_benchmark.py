import json

import pytest

from rfdetr_mm.apis.command_line.benchmark import latency_ms


def test_runs_are_counted_and_ordered():
    calls = []
    times = latency_ms(lambda: calls.append(1), runs=7, warm_up=2)
    assert len(calls) == 9
    assert 0 <= times['min'] <= times['p10'] <= times['median'] <= times['p90']


@pytest.mark.parametrize('optimize', [[], ['--optimize', 'torchscript']])
def test_both_outputs(command, loaded, optimize):
    arguments = (
        *('benchmark', '--model', 'nano', '--device', 'cpu'),
        *('--runs', 2, '--warm-up', 0, '--batch-size', 2, *optimize),
        *('--image-size', 40, 60),
    )
    code, printed, _ = command(*arguments, '--json')
    assert code == 0
    result = json.loads(printed)
    assert result['model'] == 'RFDETRNano' and result['device'] == 'cpu'
    assert result['resolution'] == 64 and result['batch_size'] == 2
    assert result['optimize'] == (optimize[1] if optimize else None)
    for name in ('predict_ms', 'network_ms'):
        assert 0 < result[name]['min'] <= result[name]['median']
    if not optimize:
        _, printed, _ = command(*arguments)
        assert 'RFDETRNano, 64 px, batch 2' in printed
        assert len(printed.splitlines()) == 4


@pytest.mark.parametrize(
    'arguments',
    [
        ['--runs', 0],
        ['--batch-size', 0],
        ['--dtype', 'float16'],
        ['--optimize', 'torchscript', '--dtype', 'foo'],
    ],
)
def test_wrong_usage(command, arguments):
    code, *_ = command('benchmark', '--model', 'nano', *arguments)
    assert code == 2
