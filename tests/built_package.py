"""Builds of the package as pip makes them, in isolation and without network.

pip gives a build an environment of its own and installs setuptools there.
It would come from an index; here it is packed from the one that is installed.
"""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = [
    'LICENSE',
    'MANIFEST.in',
    'README.md',
    'benchmarks',
    'configs',
    'demo',
    'model-index.yml',
    'pyproject.toml',
    'rfdetr_mm',
    'rfdetr_mm_light',
    'rfdetr_runtime',
    'setup.py',
    'tools',
]
PIP = ['-m', 'pip', '--disable-pip-version-check', '-q']


def run(*command, cwd, path='', **options):
    """Run Python with nothing but ``path`` on PYTHONPATH."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env={**os.environ, 'PYTHONPATH': str(path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def copy_sources(folder):
    """What a clone has of the package, copied to a new folder."""
    unwanted = shutil.ignore_patterns('.mim', '__pycache__')
    folder.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, folder)
        else:
            shutil.copytree(ROOT / name, folder / name, ignore=unwanted)
    return folder


def pack_setuptools(folder):
    """Write a wheel of the setuptools that is installed."""
    folder.mkdir(exist_ok=True)
    found = importlib.metadata.distribution('setuptools')
    wheel = folder / f'setuptools-{found.version}-py3-none-any.whl'
    with zipfile.ZipFile(wheel, 'w') as archive:
        for file in found.files:
            if not {'..', '__pycache__'} & set(file.parts):
                archive.write(file.locate(), str(file))
    return folder


def build_wheel(tree, out, *options):
    """Let pip build a wheel, in isolation; return the file.

    Args:
        tree: Sources, or a source distribution.
        out: New folder for the wheel.
        *options: Of pip; without any, it builds without an index.
    """
    if not options:
        tools = pack_setuptools(out.with_name(f'{out.name}_tools'))
        options = ('--no-index', '--find-links', tools)
    out.mkdir()
    run(*PIP, 'wheel', '--no-deps', '-w', out, *options, tree, cwd=out)
    (wheel,) = out.glob('rfdetr_mm-*.whl')
    return wheel


def build(kind, tree, out):
    """Ask the build backend for an sdist or editable; return it."""
    out.mkdir()
    code = (
        'import sys; from setuptools import build_meta; '
        f'build_meta.build_{kind}(sys.argv[1])'
    )
    run('-c', code, out, cwd=tree)
    (built,) = out.iterdir()
    return built
