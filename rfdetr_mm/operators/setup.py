"""Write the stand-in into mmcv's folder, for mmdet without rfdetr_mm.

``import rfdetr_mm`` needs no file. mmdet's own tools and mim, which do not
import it, find ``mmcv/_ext.py``. The file holds all that it needs, so that
it works where rfdetr_mm is not installed.

This module is also a script, for environments without rfdetr_mm, and imports
nothing but the standard library:

    python rfdetr_mm/operators/setup.py [--remove]
"""

import argparse
import ast
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

MARKER = '# Written by rfdetr-mm setup-operators; --remove deletes it.'
HEADER = f"""\
{MARKER}
# It is made of the modules of rfdetr_mm/operators: change those.
"""
# In an order in which each finds what it imports from the others.
PARTS = (
    'missing',
    'attention',
    'boxes',
    'convolutions',
    'focal_losses',
    'normalization',
    'pooling',
    'upsampling',
    'extension',
)
FILE = '_ext.py'


class SetupError(Exception):
    """The file cannot be written or removed; the message is for the user."""


def write_stand_in() -> str:
    """Write ``mmcv/_ext.py``, or renew one that was written before.

    Returns:
        One line that says what was done.

    Raises:
        SetupError: mmcv is not installed, has operators of another origin,
            or its folder cannot be written to.
    """
    folder = _mmcv_folder()
    path = folder / FILE
    for other in sorted(folder.glob('_ext*')):
        if other != path and other.suffix in ('', '.so', '.pyd'):
            raise SetupError(
                f'mmcv has operators already ({other}), so they need no '
                'stand-in; nothing was written'
            )
    text = stand_in_source()
    if path.exists():
        _check_that_it_is_ours(path)
        if path.read_text(encoding='utf-8') == text:
            return f'{path} is there already'
    # Beside it and renamed, so that no process reads half of it.
    draft = folder / f'{FILE}.{os.getpid()}.tmp'
    try:
        draft.write_text(text, encoding='utf-8')
        draft.replace(path)
    except OSError as error:
        raise _not_allowed('write', path, error) from error
    finally:
        if draft.exists():
            draft.unlink()
    return f'{path} was written'


def remove_stand_in() -> str:
    """Remove ``mmcv/_ext.py`` if this module wrote it.

    Returns:
        One line that says what was done.

    Raises:
        SetupError: mmcv is not installed, the file is of another origin, or
            it cannot be removed.
    """
    folder = _mmcv_folder()
    path = folder / FILE
    if not path.exists():
        return f'there is no {path}; nothing was removed'
    _check_that_it_is_ours(path)
    try:
        path.unlink()
        for compiled in folder.glob('__pycache__/_ext.*.pyc'):
            compiled.unlink()
    except OSError as error:
        raise _not_allowed('remove', path, error) from error
    return f'{path} was removed'


def stand_in_source() -> str:
    """The text of ``mmcv/_ext.py``: all operators in one module."""
    here = Path(__file__).parent
    parts = [_without_own_imports(here / f'{name}.py') for name in PARTS]
    return '\n\n'.join([HEADER, *parts])


def _without_own_imports(path: Path) -> str:
    """A module's text without what only makes sense in its package."""
    text = path.read_text(encoding='utf-8')
    lines = text.splitlines()
    for node in ast.parse(text).body:
        own = isinstance(node, ast.ImportFrom) and node.level
        exports = isinstance(node, ast.Assign) and any(
            getattr(target, 'id', None) == '__all__' for target in node.targets
        )
        docstring = isinstance(node, ast.Expr)
        if own or exports or docstring:
            for number in range(node.lineno - 1, node.end_lineno):
                lines[number] = None
    kept = '\n'.join(line for line in lines if line is not None).strip()
    return f'# {path.stem}.py\n{kept}\n'


def _mmcv_folder() -> Path:
    """Where mmcv is installed; it is not imported."""
    spec = importlib.util.find_spec('mmcv')
    if spec is None or not spec.submodule_search_locations:
        raise SetupError(
            f'mmcv is not installed for {sys.executable}: install it first '
            '(pip install onedl-mmcv), or run this with the Python that has it'
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _check_that_it_is_ours(path: Path) -> None:
    """Refuse a file that somebody else wrote."""
    if not path.is_file() or not path.read_text(
        encoding='utf-8', errors='replace'
    ).startswith(MARKER):
        raise SetupError(
            f'{path} was not written by rfdetr-mm setup-operators, so it is '
            'left as it is; remove it yourself if it is not needed'
        )


def _not_allowed(verb: str, path: Path, error: OSError) -> SetupError:
    """What a user without permission reads."""
    return SetupError(
        f'cannot {verb} {path} ({error.strerror}): run it as a user who may '
        'write there; programs that import rfdetr_mm need no such file'
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script.

    Args:
        argv: Arguments; the program's own if None.

    Returns:
        The exit code: 0, or 1 if it was refused.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--remove', action='store_true', help='remove the file again'
    )
    args = parser.parse_args(argv)
    try:
        print(remove_stand_in() if args.remove else write_stand_in())
    except SetupError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
