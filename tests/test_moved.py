"""Old import paths give today's modules, with a warning."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from rfdetr_mm.moved import MOVED, MovedModules

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(('old', 'new'), MOVED.items())
def test_an_old_name_is_the_module_of_today(old, new):
    old = f'rfdetr_mm.{old}'
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f'{old} is called {new} now'):
        found = importlib.import_module(old)
    today = importlib.import_module(new)
    assert found is today
    assert today.__name__ == today.__spec__.name == new


def test_the_line_that_imports_is_blamed_once():
    sys.modules.pop('rfdetr_mm.models.layers.relu_mlp', None)
    layers = sys.modules['rfdetr_mm.models.layers']
    vars(layers).pop('relu_mlp', None)
    with pytest.warns(DeprecationWarning) as caught:
        from rfdetr_mm.models.layers.relu_mlp import relu_mlp as function

        from rfdetr_mm.models.layers import relu_mlp
    assert relu_mlp.relu_mlp is function
    assert [one.filename for one in caught] == [__file__]


def test_other_names_are_not_found():
    finder = MovedModules()
    for name in (
        'other.models.layers.relu_mlp',
        'rfdetr_mm.models.layers.decoder',
        'rfdetr_mm.models.layers',
    ):
        assert finder.find_spec(name) is None
    with pytest.raises(ModuleNotFoundError, match='never_there'):
        importlib.import_module('rfdetr_mm.models.layers.never_there')
    finders = [type(finder).__name__ for finder in sys.meta_path]
    assert finders.count('MovedModules') == 1


def test_nothing_here_uses_an_old_name():
    places = [old.split('.')[-2:] for old in MOVED]
    old = re.compile(
        '|'.join(rf'\b{room}(\.| import ){name}\b' for room, name in places)
    )
    here = [ROOT / 'rfdetr_mm' / 'moved.py', Path(__file__)]
    folders = ('rfdetr_mm', 'tools', 'benchmarks', 'demo', 'tests')
    files = [p for name in folders for p in (ROOT / name).rglob('*.py')]
    assert len(files) > 300
    assert not [
        p for p in files if p not in here and old.search(p.read_text())
    ]
