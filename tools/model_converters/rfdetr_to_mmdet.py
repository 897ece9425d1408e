"""Convert an rfdetr checkpoint for a config of this package.

Example:
    python tools/model_converters/rfdetr_to_mmdet.py \
        rfdetr://rf-detr-nano.pth work_dirs/rfdetr_nano_coco.pth \
        --config configs/rfdetr/rfdetr_nano_coco.py
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from fit_to_config import fit_to_config
from mmengine.config import Config

import rfdetr_mm  # noqa: F401  (registers the model)
from rfdetr_mm.checkpoints import (
    ConversionReport,
    check_target,
    file_md5,
    read_checkpoint,
    read_upstream_layout,
    resolve_weights,
    summarise,
    to_mmdet_checkpoint,
    write_checkpoint,
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'src', help='rfdetr file: a path or rfdetr://NAME of a published one'
    )
    parser.add_argument('dst', help='where to write the converted file')
    parser.add_argument(
        '--config', required=True, help='config of the model it is for'
    )
    parser.add_argument(
        '--ema',
        action='store_true',
        help='take the averaged weights that a training checkpoint holds',
    )
    parser.add_argument(
        '--force', action='store_true', help='replace an existing DST'
    )
    return parser.parse_args()


def convert(
    src: Path, config: Config, use_ema: bool
) -> tuple[dict, ConversionReport]:
    """Read and convert a file and fit it to the config's model."""
    content = read_checkpoint(src)
    upstream = read_upstream_layout(content)
    if upstream is None:
        raise ValueError(
            f'{src} is not an rfdetr file: it has no weights such as '
            f"'backbone.0.encoder.…'. Its first keys are {list(content)[:5]}."
        )
    checkpoint, report = to_mmdet_checkpoint(content, use_ema=use_ema)
    weights, notes = fit_to_config(checkpoint['state_dict'], config)
    names = config_class_names(config)
    if upstream.class_names is None and len(names) == len(report.class_names):
        report.class_names = names
    report = dataclasses.replace(
        report,
        notes=report.notes + notes,
        num_parameters=sum(tensor.numel() for tensor in weights.values()),
    )
    meta = dict(
        dataset_meta=dict(classes=report.class_names),
        converted_from=dict(
            file=src.name, md5=file_md5(src), layout=upstream.layout
        ),
    )
    return dict(state_dict=weights, meta=meta), report


def config_class_names(config: Config) -> tuple[str, ...]:
    """Class names that the config sets for its training data."""
    dataset = config.get('train_dataloader', {}).get('dataset', {})
    metainfo = dataset.get('metainfo') or {}
    return tuple(metainfo.get('classes', ()))


def main() -> int:
    """Convert, check, write, report."""
    args = parse_args()
    try:
        check_target(args.dst, args.force)
        is_name = args.src.startswith('rfdetr://')
        src = resolve_weights(args.src) if is_name else Path(args.src)
        checkpoint, report = convert(
            src.expanduser(), Config.fromfile(args.config), args.ema
        )
        md5 = write_checkpoint(checkpoint, args.dst, args.force)
    except (ValueError, OSError) as error:
        print(f'rfdetr_to_mmdet: {error}', file=sys.stderr)
        return 1
    print(summarise(report))
    print(f'every key and shape fits the model of {args.config}')
    print(f'wrote {args.dst} (MD5 {md5})')
    return 0


if __name__ == '__main__':
    sys.exit(main())
