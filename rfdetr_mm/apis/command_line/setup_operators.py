"""Run ``rfdetr-mm setup-operators``: write or remove mmcv's stand-in.

Its options are in ``rfdetr_mm_light/command_line/setup_operators.py``.
"""

import argparse

from rfdetr_mm.errors import InputError
from rfdetr_mm.operators.setup import (
    SetupError,
    remove_stand_in,
    write_stand_in,
)


def run(args: argparse.Namespace) -> None:
    """Write or remove the file.

    Raises:
        InputError: It cannot be written or removed.
    """
    try:
        print(remove_stand_in() if args.remove else write_stand_in())
    except SetupError as error:
        raise InputError(str(error)) from error
