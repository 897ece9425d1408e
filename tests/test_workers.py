"""Sharing tests out: what stays together, and what comes first."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from oracle import ALL_VARIANTS
from workers import PAIR_FILES, hands_tests_out, rank, scope_of

ROOT = Path(__file__).parents[1]
PAIR_FIXTURE = re.compile(
    r'any_(?:seg_|pose_)?pair|def test_\w+\([^)]*\b(?:seg_|pose_)?pair\b'
)


def test_which_files_get_a_pair():
    texts = {
        f'tests/parity/{path.name}': path.read_text()
        for path in (ROOT / 'tests' / 'parity').glob('test_*.py')
    }
    assert PAIR_FILES == {
        name
        for name, text in texts.items()
        if PAIR_FIXTURE.search(text) and 'def pair(' not in text
    }


@pytest.mark.parametrize('name', list(ALL_VARIANTS))
@pytest.mark.parametrize('ids', ['{}', '{}-1', 'True-{}', 'a-{}-b'])
def test_tests_of_a_pair_stay_together(name, ids):
    scopes = {
        scope_of(f'{file}::test[{ids.format(name)}]') for file in PAIR_FILES
    }
    assert scopes == {f'tests/parity/ {name}'}


@pytest.mark.parametrize(
    'nodeid',
    [
        f'{min(PAIR_FILES)}::test_b',
        f'{min(PAIR_FILES)}::test_b[1]',
        f'{min(PAIR_FILES)}::test_b[nanometre]',
        'tests/parity/test_a.py::test_b[nano]',
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
