"""No module needs itself: not through others, not from within functions."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ('rfdetr_mm', 'rfdetr_mm_light', 'rfdetr_runtime')
# Folders of scripts, which import modules beside them by bare names.
SCRIPTS = ('benchmarks', 'tools', 'demo')


def import_nodes(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """All imports but those for type checkers."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        yield node
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.unparse(node.test):
        children = node.orelse
    for child in children:
        yield from import_nodes(child)


def imported_names(text: str, package: str) -> Iterator[str]:
    """Full names that a module imports; of ``from a import b`` a.b.

    Args:
        text: Its source.
        package: The package that it lies in, for relative imports.
    """
    for node in import_nodes(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            continue
        parts = [node.module] if node.module else []
        if node.level:
            levels = package.split('.')
            parts = levels[: len(levels) - node.level + 1] + parts
        yield from ('.'.join([*parts, alias.name]) for alias in node.names)


def graph_of(modules: dict[str, tuple[str, str]]) -> dict[str, set[str]]:
    """Which modules each one imports.

    Args:
        modules: Names to source and package.
    """
    graph = {}
    for name, (text, package) in modules.items():
        graph[name] = set()
        for imported in imported_names(text, package):
            # A module, or something that a module defines
            owner = imported.rpartition('.')[0]
            found = next((m for m in (imported, owner) if m in modules), None)
            if found is not None:
                graph[name].add(found)
    return graph


def circle(graph: dict[str, set[str]]) -> list[str]:
    """One of the circles, from a module back to it; empty without."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1][::-1]
    return []


def modules_of_packages() -> dict[str, tuple[str, str]]:
    modules = {}
    for name in PACKAGES:
        for path in (ROOT / name).rglob('*.py'):
            parts = path.relative_to(ROOT).with_suffix('').parts
            if '.mim' in parts:
                continue
            package = '.'.join(parts[:-1])
            is_package = parts[-1] == '__init__'
            full = package if is_package else '.'.join(parts)
            modules[full] = path.read_text(), package
    return modules


def modules_of_scripts() -> dict[str, tuple[str, str]]:
    """By bare names; the old paths of scripts are not imported by any."""
    return {
        path.stem: (path.read_text(), '')
        for folder in SCRIPTS
        for path in (ROOT / folder).rglob('*.py')
        if 'moved_to_benchmarks import' not in path.read_text()
    }


@pytest.mark.parametrize('kind', ['packages', 'scripts'])
def test_there_is_no_circle(kind):
    if kind == 'packages':
        modules = modules_of_packages()
    else:
        modules = modules_of_scripts()
    assert len(modules) > 20
    graph = graph_of(modules)
    assert circle(graph) == []


@pytest.mark.parametrize('name', ['run_config', 'paired_rounds'])
def test_scripts_are_seen_to_import_each_other(name):
    graph = graph_of(modules_of_scripts())
    assert sum(name in imported for imported in graph.values()) >= 3


@pytest.mark.parametrize(
    ('second', 'expected'),
    [
        ('import a.first', True),
        ('from . import first', True),
        ('from .first import x', True),
        ('from .. import a', False),
        ('from a import first', True),
        ('def f():\n    from a import first', True),
        ('class A:\n    import a.first', True),
        ('if True:\n    import a.first', True),
        ('if TYPE_CHECKING:\n    import a.first', False),
        ('if typing.TYPE_CHECKING:\n    from a import first', False),
        ('if TYPE_CHECKING:\n    x = 1\nelse:\n    import a.first', True),
        ('from b import first', False),
        ('import a.firstly', False),
    ],
)
def test_what_is_a_circle(second, expected):
    modules = {
        'a': ('', 'a'),
        'a.first': ('from a.second import y', 'a'),
        'a.second': (second, 'a'),
    }
    found = circle(graph_of(modules))
    assert bool(found) == expected
    if expected:
        assert found[0] == found[-1]
        assert set(found) == {'a.first', 'a.second'}


def test_a_package_and_its_module():
    modules = {
        'a': ('from .one import x', 'a'),
        'a.one': ('from a import x', 'a'),
    }
    assert circle(graph_of(modules)) in (
        ['a', 'a.one', 'a'],
        ['a.one', 'a', 'a.one'],
    )
    modules['a.one'] = ('from . import two', 'a')
    modules['a.two'] = ('', 'a')
    assert circle(graph_of(modules)) == []
