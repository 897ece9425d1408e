"""Messages, docstrings and pages are plain English, in whole sentences."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / 'tools' / 'dev'))
from prose import (  # noqa: E402
    complaints,
    complaints_of,
    files,
    page_complaints,
)


@pytest.mark.parametrize(
    'path', files(), ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_prose(path):
    assert complaints_of(path) == []


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


@pytest.mark.parametrize(
    ('page', 'expected'),
    [
        ('It must be there.', []),
        ('It\nhas\nto be.', ['2: "has to": must']),
        ('`has to` and\n```\nhas to\n```\nall', []),
        ('a\n```\nb\n```\nIt has to.', ['5: "has to": must']),
        ('[a dataset](dataset.md)', ['1: "dataset": data set']),
        ('[data](dataset.md), DATASET', []),
        ('Please wait: please', ['1: "please": leave it out']),
    ],
)
def test_what_is_complained_about_in_pages(page, expected):
    assert page_complaints(page) == expected


def test_pages_are_read():
    names = {path.relative_to(ROOT).as_posix() for path in files()}
    assert {'README.md', 'docs/faq.md', 'configs/mixing/README.md'} <= names
    assert {'rfdetr_mm/stack.py', 'tools/train.py'} <= names
