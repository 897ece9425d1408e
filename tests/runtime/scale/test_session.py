"""Where there is no cluster, one line says so, soon."""

import os
import socket
import subprocess
import sys
import time

import pytest
from toy_onnx import write_toy

from rfdetr_mm_light.command_line.main import main
from rfdetr_runtime import InputError
from rfdetr_runtime.scale import session
from rfdetr_runtime.scale.session import import_ray, ray_session


def unused_port():
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        return taken.getsockname()[1]


@pytest.mark.parametrize(
    ('address', 'message'),
    [
        ('cluster', "must be auto or HOST:PORT, but is 'cluster'"),
        (':6379', "must be auto or HOST:PORT, but is ':6379'"),
        ('127.0.0.1:{port}', 'no Ray cluster at --address 127.0.0.1:'),
        ('ray://127.0.0.1:{port}', 'no Ray cluster at --address ray://'),
        ('127.0.0.1:99999', 'no Ray cluster at --address 127.0.0.1:99999'),
    ],
)
def test_wrong_addresses(address, message):
    start = time.monotonic()
    with pytest.raises(InputError, match=message) as caught:
        session._check_address(address.format(port=unused_port()))
    assert '\n' not in str(caught.value) and time.monotonic() - start < 5


def test_no_cluster_of_this_machine(tmp_path, monkeypatch, capsys):
    pytest.importorskip('ray')
    monkeypatch.delenv('RAY_ADDRESS', raising=False)
    ray = import_ray()
    if ray.is_initialized():
        pytest.skip('there is one, of other tests')
    (tmp_path / 'a.png').write_bytes(b'')
    model = str(write_toy(tmp_path / 'toy.onnx'))
    code = main(
        ['predict', str(tmp_path / 'a.png'), model, '--engine', 'ray']
        + ['--address', 'auto', '--out', str(tmp_path / 'out')]
    )
    error = capsys.readouterr().err
    assert code == 1 and 'no Ray cluster at --address auto' in error
    assert not (tmp_path / 'out').exists()


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(InputError, match=r"pip install 'rfdetr_mm\[scale\]'"):
        with ray_session(None):
            pass


def test_no_reports_of_usage():
    pytest.importorskip('ray')
    code = (
        'from rfdetr_runtime.scale.session import import_ray\n'
        'import_ray()\n'
        'from ray._common.usage import usage_lib\n'
        'print(usage_lib.usage_stats_enabled())'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        env={**os.environ, 'RAY_USAGE_STATS_ENABLED': '1'},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == 'False'
