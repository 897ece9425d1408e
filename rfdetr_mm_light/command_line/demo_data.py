"""Draw the data set of a demo: shapes, masks, or a clip for trackers.

The folder is made, and what it has of the same name is replaced. The configs
rfdetr_tiny_shapes.py and rfdetr-seg_tiny_masks.py look for their data set in
data/tiny_shapes and data/tiny_masks below the current folder.

Examples:
  rfdetr-mm demo-data shapes data/tiny_shapes
  rfdetr-mm demo-data masks data/tiny_masks
"""

import argparse
import subprocess
import sys
from pathlib import Path

from rfdetr_mm_light.shipped_files import find_shipped

KINDS = ('shapes', 'masks', 'clip')


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    parser.add_argument('kind', choices=KINDS, help='which one')
    parser.add_argument('folder', type=Path, help='where to draw it')


def run(args: argparse.Namespace) -> None:
    """Draw it.

    Raises:
        FileNotFoundError: If the package was copied without its demos.
        SystemExit: With the code of the generator, if it fails.
    """
    script = find_shipped(f'demo/tiny_{args.kind}.py')
    done = subprocess.run([sys.executable, str(script), str(args.folder)])
    if done.returncode:
        raise SystemExit(done.returncode)
