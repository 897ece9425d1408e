"""Writes the golden files: what compiled mmcv computes for the cases.

Run it where mmcv is compiled:

    python tests/operators/refresh_golden.py
"""

import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

import mmcv._ext
from golden_cases import FILES, MAX_BYTES, TABLES


def main() -> None:
    """Write them."""
    if not mmcv._ext.__file__.endswith(tuple(EXTENSION_SUFFIXES)):
        sys.exit(f'{mmcv._ext.__file__} is no compiled extension')
    FILES.mkdir(exist_ok=True)
    about = f'mmcv {mmcv.__version__}, torch {torch.__version__}'
    for table, cases in TABLES.items():
        content = {'about': np.array(about)}
        for name, case in cases().items():
            for i, value in enumerate(case()):
                content[f'{name}/{i}'] = value.numpy()
        path = FILES / f'{table}.npz'
        np.savez_compressed(path, **content)
        size = path.stat().st_size
        print(
            f'{path}: {len(content)} arrays, {size / 1024:.1f} KiB ({about})'
        )
        assert size <= MAX_BYTES, f'{path} is larger than {MAX_BYTES} bytes'


if __name__ == '__main__':
    main()
