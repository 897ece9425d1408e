"""The notebooks run from top to bottom, with small settings.

No Jupyter: the code cells run in one namespace of a process of their own. A
line that begins with ``!`` is a command, as in Jupyter, with {NAMES} filled.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from data_factory import write_layout

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / 'demo' / 'notebooks').glob('*.ipynb'))
RUNNER = """
import subprocess, sys

def run_command(line, names):
    subprocess.run(line.format(**names), shell=True, check=True)

names = {'run_command': run_command, '__name__': '__main__'}
for number, source in enumerate(CELLS):
    lines = [
        f'run_command({line[1:]!r}, globals())' if line[:1] == '!' else line
        for line in source.splitlines()
    ]
    exec(compile('\\n'.join(lines), f'cell {number}', 'exec'), names)
"""


def cells_of(path):
    return json.loads(path.read_text())['cells']


def run(cells, folder, replace):
    """Run code cells in a folder; `replace` stands after the parameters."""
    sources = []
    for cell in cells:
        if cell['cell_type'] == 'code':
            sources.append(''.join(cell['source']))
            if 'parameters' in cell['metadata'].get('tags', ()):
                sources.append(replace)
    commands = folder / 'bin'
    commands.mkdir()
    command = commands / 'rfdetr-mm'
    command.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m rfdetr_mm_light "$@"\n'
    )
    command.chmod(0o755)
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', f'CELLS = {sources}{RUNNER}'],
        cwd=folder,
        env={
            **os.environ,
            'PATH': f'{commands}{os.pathsep}{os.environ["PATH"]}',
            'PYTHONPATH': str(ROOT),
            'MPLBACKEND': 'Agg',
        },
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    write_layout(tmp_path / 'small', 'flat')
    small = 'DATASET, EPOCHS = "small", 1'
    done = run(cells_of(path), tmp_path, small)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def test_a_cell_that_fails(tmp_path):
    cell = dict(cell_type='code', metadata={})
    cells = [dict(cell, source=['x = "no-such-command"\n', '!{x}'])]
    done = run(cells, tmp_path, '')
    assert done.returncode != 0 and 'no-such-command' in done.stderr


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path):
    cells = cells_of(path)
    assert cells[0]['cell_type'] == 'markdown'
    assert ''.join(cells[0]['source']).startswith('# ')
    for cell in cells:
        assert cell.get('outputs', []) == []
        assert cell.get('execution_count') is None


def test_all_five_are_there():
    words = ('predict', 'fine_tune', 'evaluate', 'export_and_use', 'mix')
    assert [p.stem for p in NOTEBOOKS] == [
        f'{number}_{word}' for number, word in enumerate(words, 1)
    ]
