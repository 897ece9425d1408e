"""Sharing tests out: what stays together, and what comes first."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from oracle import ALL_VARIANTS
from workers import hands_tests_out, rank, scope_of

ROOT = Path(__file__).parents[1]
FILE = 'tests/parity/test_a.py'


@pytest.mark.parametrize('name', list(ALL_VARIANTS))
@pytest.mark.parametrize('ids', ['{}', '{}-1', 'True-{}', 'a-{}-b'])
def test_tests_of_a_pair_stay_together(name, ids):
    scopes = {
        scope_of(f'tests/parity/test_{file}.py::test[{ids.format(name)}]')
        for file in 'ab'
    }
    assert scopes == {f'tests/parity/ {name}'}


@pytest.mark.parametrize(
    'nodeid',
    [
        f'{FILE}::test_b',
        f'{FILE}::test_b[1]',
        f'{FILE}::test_b[nanometre]',
        f'{FILE}::TestLarge::test_base[two]',
        'tests/apis/test_a.py::test_b[nano]',
    ],
)
def test_others_stay_with_their_file(nodeid):
    assert scope_of(nodeid) == nodeid.split('::')[0]


def test_long_ones_come_first():
    files = [
        'tests/apis/test_a.py',
        'tests/parity/ nano',
        'tests/models/test_a.py',
        'tests/tools/nas/test_a.py',
    ]
    assert sorted(files, key=rank) == [files[3], files[1], files[0], files[2]]


@pytest.mark.parametrize(
    ('numprocesses', 'attributes', 'hands_out'),
    [
        (None, {}, False),
        (0, {}, False),
        (2, {}, True),
        (2, dict(workerinput={}), False),
    ],
)
def test_who_hands_tests_out(numprocesses, attributes, hands_out):
    config = SimpleNamespace(
        getoption=lambda name, default: numprocesses, **attributes
    )
    assert hands_tests_out(config) is hands_out


def test_who_hands_tests_out_imports_little():
    """The other processes would wait for it."""
    code = (
        'import sys, conftest; from stacks import DISTRIBUTION; '
        'print({"torch", "mmdet", "mmengine"} & sys.modules.keys())'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=ROOT / 'tests',
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == 'set()\n'
