"""Docstrings and messages are plain English, in whole sentences."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = (
    'rfdetr_mm',
    'rfdetr_mm_light',
    'rfdetr_runtime',
    'tools',
    'benchmarks',
    'demo',
)
FILES = [
    path
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob('*.py'))
    if '.mim' not in path.parts
]
# What to write instead
BANNED = {
    r'\bha(s|ve) to\b': 'must',
    r'\bdo(es)? not suffice\b': 'is not enough',
    r'\bsuffices?\b': 'is enough',
    r'(?<![Tt]here )\bis no (?!longer\b|more\b|need\b|other\b)': 'is not a',
    r'\bis found out\b': 'is detected automatically',
    r'\bcannot be(?=[,.;:)]|$)': 'say what is wrong with it',
    r'\bonly its \w+ is known of\b': 'say what is missing',
    r'\bmemory (ran|runs) out\b': 'out of memory',
}
# An entry of Args: or Attributes: that is no sentence of its own
FRAGMENT = re.compile(
    r'^((Of|That|Those|Whose|Which|Gets|Likewise|With)\b|Where to[.;])'
)
ENTRY = re.compile(r'^( *)\*{0,2}(\w+)(?: \([^)]*\))?: (.*)$')
HEADS = ('Args:', 'Attributes:', 'Keyword Args:')


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of each string; of an f-string with ``_`` for values."""
    if isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        yield tree.lineno, tree.value
    elif isinstance(tree, ast.JoinedStr):
        parts = (
            part.value if isinstance(part, ast.Constant) else '_'
            for part in tree.values
        )
        yield tree.lineno, ''.join(parts)
    else:
        for child in ast.iter_child_nodes(tree):
            yield from texts(child)


def entries(docstring: str) -> Iterator[tuple[str, str]]:
    """Names and first lines of what a docstring's Args: describes."""
    indent = None
    for line in docstring.splitlines():
        stripped = line.strip()
        if stripped in HEADS:
            indent = len(line) - len(line.lstrip()) + 4
        elif stripped and indent is not None:
            depth = len(line) - len(line.lstrip())
            if depth < indent:
                indent = None
            elif depth == indent and (found := ENTRY.match(line)):
                yield found[2], found[3]


def docstrings(tree: ast.AST) -> Iterator[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds) and (found := ast.get_docstring(node)):
            yield found


def complaints(source: str) -> list[str]:
    """What is wrong with the prose of a module."""
    tree = ast.parse(source)
    found = []
    for line, text in texts(tree):
        flat = re.sub(r'\s+', ' ', text)
        for phrase, better in BANNED.items():
            if match := re.search(phrase, flat):
                found.append(f'{line}: "{match[0].strip()}": {better}')
    for docstring in docstrings(tree):
        for name, text in entries(docstring):
            if FRAGMENT.match(text):
                found.append(f'{name}: "{text}" is a fragment')
    return found


@pytest.mark.parametrize(
    'path', FILES, ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_prose(path):
    assert complaints(path.read_text()) == []


@pytest.mark.parametrize(
    ('source', 'expected'),
    [
        ("x = 'the size must be positive'", 0),
        ("x = 'the size has to be positive'", 1),
        ("x = f'{y} have to be equal to {z}'", 1),
        ("x = f'{y} ha' f's to be equal'", 1),
        ("x = ('has to '\n     'be')", 1),
        ("x = 'a value that cannot be'", 1),
        ("x = 'it cannot be read'", 0),
        ("x = 'there is no file'", 0),
        ("x = f'{y} is no file'", 1),
        ("x = f'{y} is no longer there'", 0),
        ('def f(a):\n    """Do.\n\n    Args:\n        a: Of it.\n    """', 1),
        ('def f(a):\n    """Do.\n\n    Args:\n        a: It.\n    """', 0),
        ('def f(a):\n    """Do.\n\n    Args:\n        a: Gets.\n    """', 1),
        (
            'def f(a, b):\n    """Do.\n\n    Args:\n'
            '        a: Where to.\n        b: Where it is.\n    """',
            1,
        ),
        (
            'def f():\n    """Do.\n\n    Returns:\n        a: Of it.\n    """',
            0,
        ),
        (
            'class A:\n    """One.\n\n    Attributes:\n'
            '        a (int): That it is on.\n    """',
            1,
        ),
        (
            'def f(*a):\n    """Do.\n\n    Args:\n        *a: Its names.\n'
            '            Of: it.\n        **b: Whose name.\n    """',
            1,
        ),
    ],
)
def test_what_is_complained_about(source, expected):
    assert len(complaints(source)) == expected
