r"""Write a sub-network of a supernet as an ordinary config and checkpoint.

    python tools/nas/extract.py CONFIG CKPT --out work_dirs/mine \
        --subnet 384x512-p16-w2-d3-q300

The name says height x width in pixels, patch size, windows per side, decoder
layers and queries; tools/nas/search.py prints such names. The files are named
after it. They work with tools/train.py, tools/test.py, the exports and the
Python API, which then know nothing of the search, and give the numbers of the
sub-network.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from run_config import (  # noqa: E402  (puts this clone in front)
    add_cfg_options,
    check_checkpoint,
    input_errors_in_one_line,
    read_config,
)

# isort: split
from extraction import extract_config, extract_weights  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.runner import CheckpointLoader  # noqa: E402
from torch import Tensor  # noqa: E402

from rfdetr_mm.checkpoints import write_checkpoint  # noqa: E402
from rfdetr_mm.datasets import resolve_own_data  # noqa: E402
from rfdetr_mm.errors import InputError  # noqa: E402
from rfdetr_mm.models import Subnet  # noqa: E402


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Write a sub-network as ordinary config and checkpoint'
    )
    parser.add_argument('config', help="the supernet's config file")
    parser.add_argument('checkpoint', help="the supernet's checkpoint")
    parser.add_argument(
        '--subnet',
        required=True,
        metavar='NAME',
        help='such as 384x512-p16-w2-d3-q300, see above',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('.'),
        help='folder for NAME.py and NAME.pth (default: the current one)',
    )
    parser.add_argument(
        '--force', action='store_true', help='replace existing files'
    )
    add_cfg_options(parser)
    return parser.parse_args(argv)


def read_weights(
    location: str,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a supernet's weights.

    Args:
        location: Path or address of a checkpoint of a training; its
            averaged weights are taken if there are any.

    Returns:
        State dict without a prefix, and meta data.
    """
    checkpoint = CheckpointLoader.load_checkpoint(location, 'cpu')
    weights = checkpoint.get('state_dict', checkpoint)
    return {
        key.removeprefix('module.'): value for key, value in weights.items()
    }, checkpoint.get('meta') or {}


def write_subnet(
    cfg: Config,
    weights: Mapping[str, Tensor],
    meta: Mapping[str, Any],
    subnet: Subnet,
    folder: Path,
    force: bool = False,
) -> tuple[Path, Path]:
    """Write the two files of a sub-network.

    Args:
        cfg: The supernet's config.
        weights: Its state dict.
        meta: Meta data of its checkpoint; class names are kept.
        subnet: What to extract.
        folder: The folder to write to.
        force: Whether existing files may be replaced.

    Returns:
        Paths of config and checkpoint.

    Raises:
        InputError: If the sub-network is impossible or not in the supernet,
            or a file exists.
    """
    extracted = extract_config(cfg, subnet)
    config_path = folder / f'{subnet}.py'
    checkpoint_path = config_path.with_suffix('.pth')
    if config_path.exists() and not force:
        raise InputError(
            f'{config_path} exists and is not overwritten; give another '
            'folder by --out, or --force to replace it'
        )
    folder.mkdir(parents=True, exist_ok=True)
    text = extracted.pretty_text
    content = dict(
        meta={
            **{k: v for k, v in meta.items() if k == 'dataset_meta'},
            'cfg': text,
        },
        state_dict=extract_weights(weights, subnet),
    )
    write_checkpoint(content, checkpoint_path, force=True)
    config_path.write_text(text)
    return config_path, checkpoint_path


def main(argv: Sequence[str] | None = None) -> tuple[Path, Path]:
    """Extract, and return the paths of config and checkpoint."""
    args = parse_args(argv)
    with input_errors_in_one_line(args.verbose):
        subnet = Subnet.parse(args.subnet)
        cfg = read_config(args)
        check_checkpoint(args.checkpoint, 'the command line')
        resolve_own_data(cfg)
        weights, meta = read_weights(args.checkpoint)
        paths = write_subnet(cfg, weights, meta, subnet, args.out, args.force)
    print(f'{subnet} is in {paths[0]} and {paths[1]}')
    return paths


if __name__ == '__main__':
    main()
