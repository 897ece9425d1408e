import json
import os

import pytest
import torch

from rfdetr_mm_light.command_line import info, main

SMI = """#!/bin/sh
printf '{said}'
exit {code}
"""


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Put a program of this name first on PATH."""

    def write(said, code=0):
        program = tmp_path / 'nvidia-smi'
        program.write_text(SMI.format(said=said, code=code))
        program.chmod(0o755)
        monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)

    return write


@pytest.mark.parametrize(
    'said, code, expected',
    [
        ('NVIDIA H200\\nNVIDIA A2\\n', 0, ['NVIDIA H200', 'NVIDIA A2']),
        ('', 0, []),
        (
            'No devices\\nfound\\n',
            6,
            ['unknown (nvidia-smi: No devices found)'],
        ),
    ],
)
def test_gpus_of_the_driver(nvidia_smi, said, code, expected):
    nvidia_smi(said, code)
    assert info.about_machine()['gpus'] == expected


def test_no_driver(monkeypatch, tmp_path):
    monkeypatch.setenv('PATH', str(tmp_path))
    assert info.about_machine()['gpus'] == []


def test_a_driver_that_does_not_answer(nvidia_smi, tmp_path, monkeypatch):
    nvidia_smi('')
    (tmp_path / 'nvidia-smi').write_text('#!/bin/sh\nexec sleep 5\n')
    monkeypatch.setattr(info, '_DRIVER_SECONDS', 0.1)
    assert info.about_machine()['gpus'] == [
        'unknown (nvidia-smi took over 0.1 s)'
    ]


def test_versions_are_those_that_torch_has(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv('PATH', str(tmp_path))
    assert main(['info', '--torch', '--json']) == 0
    content = json.loads(capsys.readouterr().out)
    assert content['cuda'] == torch.version.cuda
    version = torch.__version__.partition('+')[0]
    assert content['versions']['torch'].partition('+')[0] == version
    assert content['threads'] == torch.get_num_threads()
    assert len(content['gpus']) >= torch.cuda.device_count()
    assert main(['info']) == 0
    assert 'threads' not in capsys.readouterr().out


def test_torch_is_not_asked_about_a_file(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(['info', 'x.pth', '--torch'])
    assert stopped.value.code == 2
    assert '--torch is about this machine' in capsys.readouterr().err
