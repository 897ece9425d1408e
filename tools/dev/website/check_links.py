"""Every link inside a folder of HTML files leads to a file and an anchor."""

import argparse
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """Anchors of a page, and what it refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: list[str] = []

    def handle_starttag(
        self, tag: str, attrs: list[tuple[str, str | None]]
    ) -> None:
        for name, value in attrs:
            if name == 'id' or (name == 'name' and tag == 'a'):
                self.anchors.add(value or '')
            elif name in ('href', 'src') and value is not None:
                self.targets.append(value)


@cache
def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding='utf-8'))
    return page


def broken_links(folder: Path) -> list[str]:
    """Links to files or anchors of the folder that are not there.

    Args:
        folder: The site.

    Returns:
        A line for each, with the page and the target.
    """
    folder = folder.resolve()
    _read.cache_clear()
    found = []
    for path in sorted(folder.rglob('*.html')):
        for target in _read(path).targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            goal = path
            if parts.path:
                goal = (path.parent / unquote(parts.path)).resolve()
            if goal.is_dir():
                goal /= 'index.html'
            page = path.relative_to(folder)
            if not goal.is_file() or not goal.is_relative_to(folder):
                found.append(f'{page}: {target} is not there')
            elif parts.fragment and goal.suffix == '.html':
                if unquote(parts.fragment) not in _read(goal).anchors:
                    found.append(f'{page}: {target} has no such anchor')
    return found


def main() -> None:
    """Check the folder that was named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path, help='the built site')
    wrong = broken_links(parser.parse_args().folder)
    print('\n'.join(wrong), file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == '__main__':
    main()
