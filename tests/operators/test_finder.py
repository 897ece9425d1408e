"""Where mmcv's operators come from, in every order of imports."""

import json
import os
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What comes first in each process: no file answers for mmcv._ext, as with an
# mmcv that was built without operators.
WITHOUT_EXTENSION = """
import sys
from importlib.machinery import PathFinder

class NoExtension(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != 'mmcv._ext':
            return PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = NoExtension

def attempt(name):
    try:
        __import__(name)
    except ImportError as error:
        assert '_ext' in str(error), error
        return

"""
# The package without what its __init__ imports, where mmdet is not wanted.
OPERATORS_ONLY = f"""
import sys, types
package = types.ModuleType('rfdetr_mm')
package.__path__ = [{str(ROOT / 'rfdetr_mm')!r}]
sys.modules['rfdetr_mm'] = package
from rfdetr_mm.operators import activate
"""
# All names that mmdet and mmcv guard, and one that everybody calls.
CHECK = """
import ast, inspect, sys
import torch
import mmcv.ops
import mmdet.models, mmdet.evaluation, mmdet.apis, mmdet.structures.mask
from mmcv.cnn.bricks import transformer
from mmdet.registry import MODELS
from mmdet.utils import large_image

boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 29, 29]])
scores, labels = torch.tensor([0.5, 0.9, 0.1]), torch.zeros(3)
kept = large_image.batched_nms(
    boxes, scores, labels, dict(type='nms', iou_threshold=0.5)
)[1]
assert kept.tolist() == [1, 2], kept
attention = mmcv.ops.MultiScaleDeformableAttention
assert transformer.MultiScaleDeformableAttention is attention
assert MODELS.get('DCN') is mmcv.ops.DeformConv2dPack

checked = 0
for name, module in list(sys.modules.items()):
    if name.partition('.')[0] not in ('mmcv', 'mmdet') or '.ops' in name:
        continue
    if not getattr(module, '__file__', None):
        continue
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if not isinstance(node, ast.ImportFrom) or node.level:
            continue
        if not node.module.startswith('mmcv.ops') or node.col_offset > 4:
            continue
        for alias in node.names:
            bound = alias.asname or alias.name
            source = sys.modules[node.module]
            assert vars(module)[bound] is getattr(source, alias.name), (
                name, bound,
            )
            checked += 1
print(checked, mmcv._ext.__spec__.origin)
"""


def run(*parts, path=()):
    """The last line that a process prints."""
    done = subprocess.run(
        [sys.executable, '-c', '\n'.join(parts)],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join([*path, str(ROOT)])},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


# Each takes mmdet's imports, half a minute of a slow processor.
ORDERS = [
    (),
    ('mmcv.ops.nms', 'mmdet.utils', 'mmdet.models'),
    ('mmdet', 'mmcv.cnn', 'mmdet.structures.mask', 'mmdet.apis'),
]
MORE_ORDERS = [
    ('mmdet.utils',),
    ('mmdet.models',),
    ('mmcv.ops', 'mmcv.ops'),
    ('mmdet.evaluation', 'mmdet.models.losses', 'mmdet.utils'),
]


@pytest.mark.parametrize(
    'earlier',
    [
        *ORDERS,
        *(pytest.param(x, marks=pytest.mark.slow) for x in MORE_ORDERS),
    ],
    ids=lambda names: '+'.join(names) or 'nothing',
)
def test_everything_works_after_any_import(earlier):
    """Also what was imported before and took a substitute for a function."""
    attempts = [f'attempt({name!r})' for name in earlier]
    printed = run(
        WITHOUT_EXTENSION, *attempts, OPERATORS_ONLY, 'activate()', CHECK
    )
    checked, origin = printed.split()
    assert int(checked) >= 40
    assert origin == 'rfdetr_mm.operators'


@pytest.mark.parametrize(
    'earlier', [pytest.param('', marks=pytest.mark.slow), 'mmdet.utils']
)
def test_import_of_the_package_is_enough(earlier):
    attempts = [f'attempt({earlier!r})'] if earlier else []
    printed = run(WITHOUT_EXTENSION, *attempts, 'import rfdetr_mm', CHECK)
    assert printed.endswith('rfdetr_mm.operators')


@pytest.fixture
def fake(tmp_path):
    """Packages named torch and mmcv in a folder."""
    (tmp_path / 'torch.py').write_text("__version__ = '9.9'\n")
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv' / '__init__.py').write_text('')
    return tmp_path


REPORT = """
try:
    activate()
    import mmcv._ext
    answer = mmcv._ext.__spec__.origin
except ImportError as error:
    answer = str(error)
import json, sys
found = [type(f).__name__ for f in sys.meta_path].count('OperatorFinder')
print(json.dumps([answer, found]))
"""


def test_a_file_of_that_name_comes_first(fake):
    path = fake / 'mmcv' / '_ext.py'
    path.write_text('nms = None\n')
    printed = run(OPERATORS_ONLY, REPORT, path=[str(fake)])
    assert json.loads(printed) == [str(path), 1]


def test_a_compiled_one_comes_first(fake):
    """Python looks for it as for every other module, and finds it."""
    path = fake / 'mmcv' / f'_ext{EXTENSION_SUFFIXES[0]}'
    path.write_bytes(b'')
    code = """
import importlib.util
activate = lambda: None
from rfdetr_mm.operators.finder import OperatorFinder
sys.meta_path.append(OperatorFinder())
print(importlib.util.find_spec('mmcv._ext').origin)
"""
    assert run(OPERATORS_ONLY, code, path=[str(fake)]) == str(path)


def test_a_compiled_one_of_another_torch_is_one_clear_line(fake):
    path = fake / 'mmcv' / f'_ext{EXTENSION_SUFFIXES[0]}'
    path.write_bytes(b'no library')
    answer, _ = json.loads(run(OPERATORS_ONLY, REPORT, path=[str(fake)]))
    assert '\n' not in answer
    for part in (str(path), 'torch 9.9', 'another torch', 'Reinstall mmcv'):
        assert part in answer


def test_without_mmcv_nothing_happens(tmp_path):
    """The package then says what is missing, in its own words."""
    code = """
sys.meta_path = [
    f for f in sys.meta_path if getattr(f, '__name__', '') != 'PathFinder'
]
activate()
activate()
print([type(f).__name__ for f in sys.meta_path].count('OperatorFinder'))
"""
    assert run(OPERATORS_ONLY, code) == '1'


def test_no_other_name_is_answered():
    code = """
activate()
finder = sys.meta_path[-1]
print(type(finder).__name__, finder.find_spec('mmcv._extra'),
      finder.find_spec('mmcv'))
"""
    assert run(OPERATORS_ONLY, code) == 'OperatorFinder None None'
