"""Draw pictures for --model tiny, or the data set of a demo.

samples are 16 pictures of what --model tiny knows. shapes and masks are the
data sets of the demos, clip is one for trackers. The folder is made, and what
it has of the same name is replaced. The configs rfdetr_tiny_shapes.py and
rfdetr-seg_tiny_masks.py look for their data set in data/tiny_shapes and
data/tiny_masks below the current folder.

Examples:
  rfdetr-mm demo-data samples samples
  rfdetr-mm demo-data shapes data/tiny_shapes
  rfdetr-mm demo-data masks data/tiny_masks
"""

import argparse
import subprocess
import sys
from pathlib import Path

from rfdetr_mm_light.shipped_files import find_shipped

# The generator of each kind, and its options
KINDS = {
    'samples': ('pretraining_shapes.py', '--train', '0', '--val', '16'),
    'shapes': ('tiny_shapes.py',),
    'masks': ('tiny_masks.py',),
    'clip': ('tiny_clip.py',),
}


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
    name, *options = KINDS[args.kind]
    script = find_shipped(f'demo/{name}')
    command = [sys.executable, str(script), str(args.folder), *options]
    done = subprocess.run(command)
    if done.returncode:
        raise SystemExit(done.returncode)
