"""The modules of benchmarks/ by their names, as its scripts import them."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ('benchmarks', 'tools', 'tools/analysis_tools')


@pytest.fixture(scope='package', autouse=True)
def benchmarks_on_path():
    before = list(sys.path)
    sys.path[:0] = [str(ROOT / folder) for folder in FOLDERS]
    yield
    sys.path[:] = before
