"""Which files of the repository are pages of the site, and their links.

Pages are Markdown that GitHub shows as well: links are paths in the
repository. On the site a link to another page becomes one to that page, and a
link to a file that is not a page leads to the repository's address, or is
plain text where none is known. A link to nothing is an error.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / 'docs'
# Files outside docs/ and what they are called on the site.
OTHER_PAGES = {
    'CHANGELOG.md': 'changelog.md',
    'CODE_OF_CONDUCT.md': 'code_of_conduct.md',
    'CONTRIBUTING.md': 'contributing.md',
    'ROADMAP.md': 'roadmap.md',
    'SECURITY.md': 'security.md',
    'configs/mixing/README.md': 'mix_parts.md',
    'configs/rfdetr/README.md': 'models/rfdetr.md',
    'configs/rfdetr_nas/README.md': 'models/rfdetr_nas.md',
    'configs/rfdetr_pose/README.md': 'models/rfdetr_pose.md',
    'configs/rfdetr_seg/README.md': 'models/rfdetr_seg.md',
}
NOTEBOOKS = 'demo/notebooks'
# Not a page, but links to it lead to the first one.
FIRST = {'README.md': 'index.md'}

CODE = re.compile(r'(^```.*?^```[^\n]*$|`[^`\n]+`)', re.M | re.S)
LINK = re.compile(
    r'(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]'
    r'\((?P<target>[^()\s]+)\)'
)
# Stands for a piece of code while links are looked for.
HELD = '\x00{}\x00'


def pages() -> dict[str, str]:
    """Page of the site for each file of the repository that is one."""
    found = {
        path.relative_to(ROOT).as_posix(): path.relative_to(DOCS).as_posix()
        for path in sorted(DOCS.rglob('*.md'))
    }
    found.update(
        {
            name: page
            for name, page in OTHER_PAGES.items()
            if (ROOT / name).exists()
        }
    )
    for path in sorted((ROOT / NOTEBOOKS).glob('*.ipynb')):
        name = path.relative_to(ROOT).as_posix()
        found[name] = f'notebooks/{path.stem}.md'
    return found


def notebook_as_markdown(text: str) -> str:
    """The cells of a notebook, code in fences."""
    parts = []
    for cell in json.loads(text)['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] == 'code':
            # A command of a shell, as Jupyter has it
            kind = 'shell' if source.startswith('!') else 'python'
            source = f'```{kind}\n{source.removeprefix("!")}\n```'
        parts.append(source)
    return '\n\n'.join(parts) + '\n'


def _hold_code(text: str) -> tuple[str, list[str]]:
    """Take code out of a text, so that nothing in it looks like a link."""
    held: list[str] = []

    def hold(match: re.Match) -> str:
        held.append(match[0])
        return HELD.format(len(held) - 1)

    return CODE.sub(hold, text), held


def _put_back(text: str, held: list[str]) -> str:
    for number, code in enumerate(held):
        text = text.replace(HELD.format(number), code)
    return text


def links(text: str) -> Iterator[tuple[str, str]]:
    """Text and target of each link and image of a Markdown file."""
    for match in LINK.finditer(_hold_code(text)[0]):
        yield match['text'], match['target']


def _is_elsewhere(target: str) -> bool:
    return bool(re.match(r'[a-z][a-z+.-]*:', target))


def missing_targets(name: str, text: str) -> list[str]:
    """Links of a file of the repository whose file is not there."""
    found = []
    for _, target in links(text):
        path = target.partition('#')[0]
        if path and not _is_elsewhere(target):
            if not (ROOT / name).parent.joinpath(path).exists():
                found.append(f'{name}: {target} is not there')
    return found


class Rewriter:
    """Turns links of the repository into links of the site.

    Args:
        target_of: Page of the site for each file, as :func:`pages` gives it.
        repository: Address of the repository's files, such as
            ``https://HOST/OWNER/NAME/blob/main``; empty if it is not known.
        out: Folder of the assembled pages, which images are copied to.
    """

    def __init__(self, target_of: dict[str, str], repository: str, out: Path):
        self.target_of = {**target_of, **FIRST}
        self.repository = repository.rstrip('/')
        self.out = out

    def __call__(self, name: str, text: str) -> str:
        """The text of a page with the links of the site.

        Args:
            name: The file, relative to the repository.
            text: What is in it.
        """
        text, held = _hold_code(text)
        page = self.target_of[name]
        text = LINK.sub(lambda match: self._link(name, page, match), text)
        return _put_back(text, held)

    def _link(self, name: str, page: str, match: re.Match) -> str:
        target = match['target']
        if _is_elsewhere(target) or target.startswith('#'):
            return match[0]
        path, mark, anchor = target.partition('#')
        file = os.path.normpath(Path(name).parent / path)
        if match['image']:
            return match[0].replace(target, self._image(file, page))
        readme = f'{file}/README.md'
        file = readme if readme in self.target_of else file
        if file in self.target_of:
            up = os.path.relpath(self.target_of[file], Path(page).parent)
            return f'[{match["text"]}]({up}{mark}{anchor})'
        if not self.repository:
            return match['text']
        return f'[{match["text"]}]({self.repository}/{file}{mark}{anchor})'

    def _image(self, file: str, page: str) -> str:
        source = ROOT / file
        inside = source.is_relative_to(DOCS)
        copy = source.relative_to(DOCS if inside else ROOT)
        goal = self.out / copy
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, goal)
        return os.path.relpath(copy, Path(page).parent)


def assemble(out: Path, repository: str = '') -> list[str]:
    """Write all pages below a folder.

    Args:
        out: An empty folder.
        repository: See :class:`Rewriter`.

    Returns:
        What is wrong with links, a line each.
    """
    target_of = pages()
    rewrite = Rewriter(target_of, repository, out)
    wrong = []
    for name, page in target_of.items():
        text = (ROOT / name).read_text(encoding='utf-8')
        if name.endswith('.ipynb'):
            text = notebook_as_markdown(text)
        missing = missing_targets(name, text)
        wrong += missing
        if not missing:
            goal = out / page
            goal.parent.mkdir(parents=True, exist_ok=True)
            goal.write_text(rewrite(name, text), encoding='utf-8')
    return wrong
