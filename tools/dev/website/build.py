"""Build the documentation site: `make docs`, and `make docs-links`.

Pages are assembled in build/site/source (the Markdown files of the
repository, tables and figures that are made from its facts), Sphinx makes
build/site/html of them, and every link and anchor of the result is followed.
A warning is an error. With --external, links to other sites are asked for.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import check_links
import figures
import pages
import sizes

OUT = pages.ROOT / 'build' / 'site'


def assemble(source: Path, repository: str) -> list[str]:
    """Fill a folder with everything that Sphinx reads.

    Args:
        source: The folder; what was in it goes.
        repository: Address of the repository's files, or an empty text.

    Returns:
        What is wrong with links, a line each.
    """
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    shutil.copy2(pages.DOCS / 'conf.py', source)
    shutil.copytree(pages.DOCS / '_static', source / '_static')
    wrong = pages.assemble(source, repository)
    sizes.fill(source)
    figures.fill(source)
    return wrong


def sphinx(builder: str, source: Path, *options: str) -> None:
    """Run a builder of Sphinx; its failure is ours."""
    command = [
        sys.executable, '-m', 'sphinx', '-q', '-b', builder, *options,
        str(source), str(OUT / builder),
    ]  # fmt: skip
    if status := subprocess.run(command).returncode:
        sys.exit(status)


def main() -> None:
    """Build the site, or check its links to other sites."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--external',
        action='store_true',
        help='ask for every link to another site, instead of building',
    )
    parser.add_argument(
        '--repository',
        default=os.environ.get('RFDETR_MM_REPOSITORY', ''),
        help="address of the repository's files, for links to code; "
        'default: RFDETR_MM_REPOSITORY, else such links are plain text',
    )
    arguments = parser.parse_args()
    source = OUT / 'source'
    if wrong := assemble(source, arguments.repository):
        sys.exit('\n'.join(wrong))
    if arguments.external:
        sphinx('linkcheck', source)
        return
    shutil.rmtree(OUT / 'html', ignore_errors=True)
    sphinx('html', source, '-W', '--keep-going', '-n')
    if wrong := check_links.broken_links(OUT / 'html'):
        sys.exit('\n'.join(wrong))
    print(f'{OUT}/html/index.html')


if __name__ == '__main__':
    main()
