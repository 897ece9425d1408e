"""Run ``rfdetr-mm split``.

Its options are in ``rfdetr_mm_light/command_line/split.py``.
"""

import argparse

from rfdetr_mm.datasets.split_file import split_file


def run(args: argparse.Namespace) -> None:
    """Write the parts, and show how many images and boxes they have."""
    result = split_file(
        args.annotations,
        args.out,
        args.parts,
        seed=args.seed,
        group_by=args.group_by,
        image_folder=args.images,
        copy=args.copy,
    )
    print('\n'.join(result.lines()))
