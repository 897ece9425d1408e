"""Old paths of scripts: they run what lies in benchmarks/ today."""

import runpy
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / 'benchmarks'


def run(old: str) -> None:
    """Run the script of the same name, after a warning.

    Args:
        old: The path that was typed.
    """
    new = BENCHMARKS / Path(old).name
    print(
        f'{old} has moved and will be removed: use {new}',
        file=sys.stderr,
        flush=True,
    )
    sys.argv[0], sys.path[0] = str(new), str(new.parent)
    runpy.run_path(str(new), run_name='__main__')
