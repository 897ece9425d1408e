"""The command measures exported files."""

import json

import pytest
from toy_onnx import write_toy

from rfdetr_mm_light.command_line.main import main

pytest.importorskip('onnxruntime')


@pytest.mark.parametrize('batch', [1, 2, 'batch'])
def test_a_file_is_measured(tmp_path, capsys, batch):
    file = write_toy(tmp_path / 'toy.onnx', batch=batch)
    arguments = ['benchmark', str(file), '--runs', '2', '--warm-up', '0']
    assert main([*arguments, '--json']) == 0
    result = json.loads(capsys.readouterr().out)
    assert result['model'] == 'toy.onnx' and result['dtype'] == 'fp32'
    assert result['resolution'] == '4x6'
    assert result['batch_size'] == (2 if batch == 2 else 1)
    for name in ('predict_ms', 'network_ms'):
        assert 0 < result[name]['min'] <= result[name]['median']
    assert main(arguments) == 0
    assert 'toy.onnx, 4x6 px, batch' in capsys.readouterr().out


def test_options_of_checkpoints(tmp_path, capsys):
    file = write_toy(tmp_path / 'toy.onnx')
    with pytest.raises(SystemExit):
        main(['benchmark', str(file), '--optimize', 'inductor'])
    assert 'not exported files' in capsys.readouterr().err
