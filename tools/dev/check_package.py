"""Check the wheel and the source distribution in a folder.

``python tools/dev/check_package.py DIST`` compares them with this clone:
configs, demos, tools and the model index must be where mim and the package
look for them, every module must be there, and nothing else. It needs the
standard library only. tools/dev/package.sh builds what is checked.
"""

import argparse
import email
import re
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ('rfdetr_mm', 'rfdetr_mm_light', 'rfdetr_runtime')
MIM = ('benchmarks', 'configs', 'demo', 'tools', 'model-index.yml')
# Of these folders the wheel has a copy, see setup.py.
MIM_FOLDERS = ('rfdetr_mm/.mim', '+rfdetr_mm/.mim')
# What only a clone has use for.
UNWANTED = ('tests/', 'docs/', 'data/', 'tools/dev/')
CORE = {'numpy', 'pillow'}


def shipped_files(root: Path) -> set[str]:
    """Files of a clone that belong into a wheel, as paths below its root."""
    found = set()
    for name in (*PACKAGES, *MIM):
        path = root / name
        files = [path] if path.is_file() else path.rglob('*')
        for file in files:
            parts = file.relative_to(root).parts
            if file.is_file() and not (
                '.mim' in parts
                or '__pycache__' in parts
                or parts[:2] == ('tools', 'dev')
            ):
                found.add('/'.join(parts))
    return found


def wheel_complaints(wheel: Path, root: Path) -> list[str]:
    """Say what is wrong with a wheel.

    Args:
        wheel: The file.
        root: The clone that it was built from.

    Returns:
        A line for each fault; none if it is right.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name[-1] != '/'}
        (metadata,) = (n for n in names if n.endswith('.dist-info/METADATA'))
        headers = email.message_from_bytes(archive.read(metadata))
    info = metadata.rpartition('/')[0]
    expected = set()
    for name in shipped_files(root):
        if name.startswith(tuple(f'{package}/' for package in PACKAGES)):
            expected.add(name)
        else:
            expected |= {f'{folder}/{name}' for folder in MIM_FOLDERS}
    packed = {name for name in names if not name.startswith(f'{info}/')}
    lines = [f'{wheel.name} lacks {n}' for n in sorted(expected - packed)]
    lines += [f'{wheel.name} has {n}' for n in sorted(packed - expected)]
    required = {
        re.match(r'[\w.-]+', line)[0].lower()
        for line in headers.get_all('Requires-Dist', [])
        if 'extra ==' not in line
    }
    if required != CORE:
        lines.append(
            f'{wheel.name} requires {sorted(required)}, not {sorted(CORE)}'
        )
    # In a folder of its own since setuptools 77
    if not names & {f'{info}/LICENSE', f'{info}/licenses/LICENSE'}:
        lines.append(f'{wheel.name} lacks the licence')
    return lines


def sdist_complaints(sdist: Path, root: Path) -> list[str]:
    """Say what is wrong with a source distribution.

    Args:
        sdist: The file.
        root: The clone that it was built from.

    Returns:
        A line for each fault; none if it is right.
    """
    with tarfile.open(sdist) as archive:
        names = {
            member.name.partition('/')[2]
            for member in archive.getmembers()
            if member.isfile()
        }
    expected = shipped_files(root) | {
        'LICENSE',
        'MANIFEST.in',
        'README.md',
        'pyproject.toml',
        'setup.py',
    }
    lines = [f'{sdist.name} lacks {n}' for n in sorted(expected - names)]
    unwanted = [n for n in names if n.startswith(UNWANTED)]
    return lines + [f'{sdist.name} has {n}' for n in sorted(unwanted)]


def main(argv: Sequence[str] | None = None) -> None:
    """Check a folder.

    Raises:
        SystemExit: If there is not one file of each kind, or one is wrong.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('folder', type=Path, help='where both files are')
    folder = parser.parse_args(argv).folder
    wheels, sdists = folder.glob('*.whl'), folder.glob('*.tar.gz')
    found = [list(wheels), list(sdists)]
    if [len(files) for files in found] != [1, 1]:
        sys.exit(
            f'{folder} must hold one wheel and one source distribution; it '
            f'holds {sorted(path.name for path in folder.iterdir())}'
        )
    (wheel,), (sdist,) = found
    lines = [*wheel_complaints(wheel, ROOT), *sdist_complaints(sdist, ROOT)]
    if lines:
        sys.exit('\n'.join(lines))
    print(f'{wheel.name} and {sdist.name} hold what they must')


if __name__ == '__main__':
    main()
