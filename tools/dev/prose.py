"""Plain English: phrases that messages, docstrings and pages do without.

`make lint` runs it on the whole repository; tests/test_prose.py on each file.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (
    'rfdetr_mm',
    'rfdetr_mm_light',
    'rfdetr_runtime',
    'tools',
    'benchmarks',
    'demo',
)
PAGES = ('*.md', 'docs/**/*.md', 'configs/**/*.md', '.github/**/*.md')
# What to write instead
BANNED = {
    r'\bha(s|ve) to\b': 'must',
    r'\bdo(es)? not suffice\b': 'is not enough',
    r'\bsuffices?\b': 'is enough',
    r'(?<![Tt]here )\bis no (?!longer\b|more\b|need\b|other\b)': 'is not a',
    r'\bis found out\b': 'is detected automatically',
    r'\bcannot be(?=[,.;:)]|$)': 'say what is wrong with it',
    r'\bmemory (ran|runs) out\b': 'out of memory',
    r'\b(is|are) known of\b': 'say what is missing',
    r'\b(utili[sz]e[sd]?|utili[sz]ing)\b': 'use',
    r'\bin order to\b': 'to',
    r'\b(simply|obviously|of course)\b': 'leave it out',
    r'\ballows? to\b': 'lets you',
    r'\binformations\b': 'information',
}
# In pages too; in modules these are names.
BANNED_IN_PAGES = {
    **BANNED,
    r'\bplease\b': 'leave it out',
    r'(?<!\w)[Dd]atasets?\b': 'data set',
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
    """All docstrings of a module."""
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


def page_complaints(text: str) -> list[str]:
    """What is wrong with the prose of a Markdown page; code is left out."""
    text = re.sub(
        r'```.*?```', lambda m: '\n' * m[0].count('\n'), text, flags=re.S
    )
    text = re.sub(r'`[^`\n]+`', '_', text)
    text = re.sub(r'\]\([^)\s]+\)', ']', text)
    found = []
    for phrase, better in BANNED_IN_PAGES.items():
        for match in re.finditer(phrase.replace(' ', r'\s'), text):
            line = text.count('\n', 0, match.start()) + 1
            words = ' '.join(match[0].split())
            found.append(f'{line}: "{words}": {better}')
    return found


def files() -> list[Path]:
    """All that is read: modules and pages."""
    modules = [
        path
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob('*.py'))
        if '.mim' not in path.parts and path != Path(__file__).resolve()
    ]
    pages = {path for pattern in PAGES for path in ROOT.glob(pattern)}
    return [*modules, *sorted(pages)]


def complaints_of(path: Path) -> list[str]:
    """What is wrong with the prose of a file."""
    text = path.read_text(encoding='utf-8')
    return (complaints if path.suffix == '.py' else page_complaints)(text)


def main() -> None:
    """Print all complaints."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    found = [
        f'{path.relative_to(ROOT)}:{line}'
        for path in files()
        for line in complaints_of(path)
    ]
    print('\n'.join(found), file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == '__main__':
    main()
