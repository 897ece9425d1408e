"""The house as designed: import law, sizes, names, what an import loads."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rfdetr_mm

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'rfdetr_mm'
LIGHT = ROOT / 'rfdetr_mm_light'
LIGHT_FILES = sorted(LIGHT.rglob('*.py'))
RUNTIME = ROOT / 'rfdetr_runtime'
RUNTIME_FILES = sorted(RUNTIME.rglob('*.py'))
OF_ROOMS = sorted(PACKAGE.rglob('*.py'))
FILES = OF_ROOMS + LIGHT_FILES + RUNTIME_FILES
SCRIPTS = sorted(
    path
    for folder in ('tools', 'benchmarks', 'demo')
    for path in (ROOT / folder).rglob('*.py')
)
# Guides: what is larger has a reason in one of the two tables. Nothing is
# split for the number's sake.
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 12
LARGER_FILES = {
    'benchmarks/sides.py': 'the two sides of every comparison, side by side',
    'rfdetr_mm/models/dense_heads/rfdetr_head.py': 'one head, from maps to '
    'detections',
}
# file: function or class (of its constructor): reason
LARGER_FUNCTIONS = {
    'demo/web_demo.py': {'build_page': 'one page, from top to bottom'},
    'rfdetr_runtime/scale/prediction.py': {
        'predict_on_ray': 'half of it says what its arguments are'
    },
}

# room: rooms of the package that it must not import
FORBIDDEN = {
    'models': {
        'deploy',
        'apis',
        'engine',
        'checkpoints',
        'datasets',
        'evaluation',
    },
    'checkpoints': {
        'models',
        'deploy',
        'apis',
        'engine',
        'datasets',
        'evaluation',
    },
    'engine': {'deploy', 'apis'},
    'datasets': {
        'models',
        'deploy',
        'apis',
        'engine',
        'checkpoints',
        'evaluation',
    },
    'evaluation': {'models', 'deploy', 'apis', 'engine', 'checkpoints'},
}
ROOMS = set().union(*FORBIDDEN.values())
# Modules that mmengine asks for by their names; they use mmdet's only.
FORBIDDEN |= {'registry.py': ROOMS, 'utils': ROOMS}
# Read by every room, so it reads none.
FORBIDDEN['sizes'] = ROOMS
OPTIONAL = {
    'mmdeploy',
    'onnx',
    'rfdetr',
    'transformers',
    'supervision',
    'timm',
    'tensorflow',
    'litert_torch',
    'pytorch_lightning',
    'sahi',
    'fiftyone',
}
# Within functions, for what a room returns
LAZY = {('apis', name) for name in ('supervision', 'sahi', 'fiftyone')}
NOT_BY_DEFAULT = {'rfdetr_mm.apis', 'peft'}
# Beside the rooms, without imports of the package: open to all of them
SHARED = {
    'rfdetr_mm.adapter_weights',
    'rfdetr_mm.errors',
    'rfdetr_mm.processor',
    'rfdetr_mm.sizes.blocks',
    'rfdetr_mm.stack',
}


def absolute_imports(path):
    """Full names of the modules a file imports."""
    package = path.relative_to(ROOT).with_suffix('').parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = [node.module] if node.module else []
            if node.level:
                base = package[: len(package) - node.level + 1]
                parts = ['.'.join(base), *parts]
            if node.module or node.level:
                yield '.'.join(parts)
                if node.level and not node.module:
                    yield from ('.'.join([*parts, a.name]) for a in node.names)


def test_the_clone_at_hand_is_tested():
    assert Path(rfdetr_mm.__file__).resolve().parent == PACKAGE.resolve()


@pytest.mark.parametrize('path', OF_ROOMS, ids=lambda p: str(p.name))
def test_import_law(path):
    room = path.relative_to(PACKAGE).parts[0]
    for name in absolute_imports(path):
        parts = name.split('.')
        if parts[0] in OPTIONAL and (room, parts[0]) not in LAZY:
            assert room == 'deploy', name
        if parts[0] == 'rfdetr_mm' and len(parts) > 1:
            assert parts[1] not in FORBIDDEN.get(room, ()), name
        if room == 'checkpoints':
            known = {'torch', 'rfdetr_mm', *sys.stdlib_module_names}
            assert parts[0] in known | {LIGHT.name}, name
        if room == 'operators':
            # What is written into mmcv's folder finds nothing else there.
            known = {'numpy', 'torch', 'torchvision', *sys.stdlib_module_names}
            assert parts[0] in known or name.startswith(
                'rfdetr_mm.operators'
            ), name


def imports_outside_functions(path):
    """Top-level packages that importing a file imports."""
    own = path.relative_to(ROOT).parts[0]
    nodes = list(ast.parse(path.read_text()).body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name.partition('.')[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield own if node.level else node.module.partition('.')[0]
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            nodes += ast.iter_child_nodes(node)


# file: what it imports within functions, because a user asked for it
LIGHT_LAZY = {'command_line/info.py': {'rfdetr_mm', 'torch'}}


@pytest.mark.parametrize(
    'path', LIGHT_FILES, ids=lambda p: str(p.relative_to(LIGHT))
)
def test_the_light_package_imports_the_standard_library_only(path):
    known = {LIGHT.name, *sys.stdlib_module_names}
    assert set(imports_outside_functions(path)) <= known
    lazy = LIGHT_LAZY.get(path.relative_to(LIGHT).as_posix(), set())
    packages = {name.partition('.')[0] for name in absolute_imports(path)}
    assert packages <= known | lazy


# file: what it imports within functions, because a user asked for it. The
# runtimes of exported files are imported by their names, see SESSIONS.
RUNTIME_LAZY = {
    'detections.py': {'supervision'},
    'scale/coco.py': {'pyarrow'},
    'scale/pipeline.py': {'pyarrow'},
    'scale/places.py': {'fsspec', 'pyarrow'},
    'scale/prediction.py': {'pyarrow'},
    'scale/results.py': {'pyarrow'},
    'scale/session.py': {'ray'},
    'scale/sources.py': {'pyarrow'},
    'scale/stages.py': {'pyarrow'},
}


@pytest.mark.parametrize(
    'path', RUNTIME_FILES, ids=lambda p: str(p.relative_to(RUNTIME))
)
def test_the_runtime_package_imports_numpy_and_pillow_only(path):
    known = {RUNTIME.name, LIGHT.name, 'numpy', 'PIL'}
    known |= sys.stdlib_module_names
    lazy = RUNTIME_LAZY.get(path.relative_to(RUNTIME).as_posix(), set())
    module = ast.parse(path.read_text())
    for_types = {
        name.name.partition('.')[0]
        for node in module.body
        if isinstance(node, ast.If) and node.test.id == 'TYPE_CHECKING'
        for child in node.body
        for name in getattr(child, 'names', ())
    }
    packages = {name.partition('.')[0] for name in absolute_imports(path)}
    assert packages <= known | lazy | for_types


# room of models: packages, and modules of this one, that it may import
ROOMS_OF_MODELS = {
    'autograd': {'torch', 'rfdetr_mm.models.autograd'},
    'loading': {'torch', 'peft'},
    'layers': {
        'torch',
        'mmcv',
        'mmdet',
        'mmengine',
        'numpy',
        'rfdetr_mm.models.autograd',
        'rfdetr_mm.models.layers',
    },
}


@pytest.mark.parametrize(
    'path',
    [
        path
        for room in ROOMS_OF_MODELS
        for path in sorted((PACKAGE / 'models' / room).glob('*.py'))
    ],
    ids=lambda p: f'{p.parent.name}/{p.name}',
)
def test_rooms_below_the_registry_modules(path):
    known = ROOMS_OF_MODELS[path.parent.name] | SHARED
    for name in absolute_imports(path):
        if name.partition('.')[0] not in sys.stdlib_module_names:
            # A module of a package, or the package itself
            assert any(f'{name}.'.startswith(f'{k}.') for k in known), name


def test_matching_knows_no_head():
    """Heads import the matching, and not the other way round."""
    for path in (PACKAGE / 'models' / 'task_modules').glob('*.py'):
        for name in absolute_imports(path):
            assert not name.startswith('rfdetr_mm.models.dense_heads'), path


def test_nothing_needs_the_benchmarks():
    modules = {path.stem for path in (ROOT / 'benchmarks').glob('*.py')}
    assert 'sides' in modules
    others = [p for p in SCRIPTS if 'benchmarks' not in p.parts]
    for path in FILES + others:
        names = {name.partition('.')[0] for name in absolute_imports(path)}
        assert not names & {'benchmarks', *modules}, path


def code_of(function):
    """Lines of a function's body, its docstring excluded."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:] or body
    return body[-1].end_lineno - body[0].lineno + 1


def larger_parts(path):
    """Names of functions and classes that are above the guides."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if code_of(node) > MAX_FUNCTION_LINES:
                yield node.name
        elif isinstance(node, ast.ClassDef):
            for child in node.body:
                if getattr(child, 'name', '') == '__init__':
                    given = child.args
                    if len(given.args + given.kwonlyargs) - 1 > MAX_PARAMETERS:
                        yield node.name


def test_what_is_large_has_a_reason():
    files, parts = set(), {}
    for path in FILES + SCRIPTS:
        name = path.relative_to(ROOT).as_posix()
        if path.read_text().count('\n') > MAX_FILE_LINES:
            files.add(name)
        if found := set(larger_parts(path)):
            parts[name] = found
    assert files == set(LARGER_FILES)
    assert parts == {name: set(of) for name, of in LARGER_FUNCTIONS.items()}
    reasons = [*LARGER_FILES.values()]
    reasons += [r for of in LARGER_FUNCTIONS.values() for r in of.values()]
    assert all(reason and '\n' not in reason for reason in reasons)


def public_functions(node, docstring='', is_method=False):
    """Functions, and the docstrings that describe them."""
    for child in node.body:
        name = getattr(child, 'name', '_')
        if isinstance(child, ast.ClassDef) and not name.startswith('_'):
            yield from public_functions(child, ast.get_docstring(child), True)
        elif isinstance(child, ast.FunctionDef) and (
            name == '__init__' or not name.startswith('_')
        ):
            own = ast.get_docstring(child) or ''
            if name == '__init__':
                own += docstring or ''
            yield child, own, is_method


def raises(node):
    """Whether it raises a new error itself."""
    nested = (ast.FunctionDef, ast.ClassDef, ast.Lambda)
    return any(
        (isinstance(child, ast.Raise) and child.exc is not None)
        or (not isinstance(child, nested) and raises(child))
        for child in ast.iter_child_nodes(node)
    )


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.name))
def test_public_functions_are_described(path):
    module = ast.parse(path.read_text())
    for function, docstring, is_method in public_functions(module):
        if raises(function):
            assert re.search(r'Raises?[: ]', docstring), function.name
        given = function.args
        arguments = [*given.posonlyargs, *given.args][is_method:]
        arguments += [*given.kwonlyargs, given.vararg, given.kwarg]
        for argument in arguments:
            assert argument is None or argument.annotation, function.name
        assert function.returns, function.name


def test_names():
    forbidden = {'utils.py', 'common.py', 'misc.py', 'helpers.py'}
    tracked = [p for p in ROOT.rglob('*.py') if '.git' not in p.parts]
    assert not [p for p in tracked if p.name in forbidden]


def test_tests_mirror_the_package():
    """A module's test, where there is one, stands where the module does."""
    others = dict(light=LIGHT, runtime=RUNTIME)
    rooms = {p.name for p in PACKAGE.iterdir() if p.is_dir()} | {*others}
    free = {'parity', 'configs', 'tools', 'benchmarks', 'demo'}
    for path in (ROOT / 'tests').rglob('test_*.py'):
        parts = path.relative_to(ROOT / 'tests').parts
        if len(parts) == 1 or parts[0] in free:
            continue
        assert parts[0] in rooms, path
        room = PACKAGE.joinpath(*parts[:-1])
        if parts[0] in others:
            room = others[parts[0]].joinpath(*parts[1:-1])
        name = path.stem[len('test_') :]
        # reader.py may have test_reader.py and test_reader_more.py
        assert any(
            name == module.stem or name.startswith(f'{module.stem}_')
            for module in room.glob('*.py')
        ), f'{path} tests no module of {room}'


def loaded_by(*modules):
    """Which optional packages are there after each of some imports."""
    names = sorted(OPTIONAL | NOT_BY_DEFAULT)
    code = (
        'import importlib, sys\n'
        f'for module in {modules!r}:\n'
        '    importlib.import_module(module)\n'
        f'    print("loaded", [n for n in {names!r} if n in sys.modules])'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        check=True,
    )
    if modules[0] == 'rfdetr_mm':
        # OneDL's mmdet prints about data sets of its own; ours does not.
        first, _, _ = done.stdout.partition('loaded ')
        assert first == '' and 'Could not import OneDL' not in done.stderr
        assert 'register_constant' not in done.stderr  # of torchao
    lines = [x for x in done.stdout.splitlines() if x.startswith('loaded ')]
    assert len(lines) == len(modules)
    return [set(ast.literal_eval(x.partition(' ')[2])) for x in lines]


def test_import_loads_no_optional_package():
    """No more of them than mmdet itself loads.

    What the first import of a process loads is part of what the second would
    load by itself, so that two processes answer for all four.
    """
    ours = loaded_by('rfdetr_mm', 'rfdetr_mm.apis')
    theirs = loaded_by('mmdet.models', 'mmdet.apis')
    assert ours[0] - {'rfdetr_mm'} == theirs[0]
    assert ours[1] - {'rfdetr_mm.apis'} == theirs[1]
