"""Convert a checkpoint of this package to one that rfdetr loads.

Example:
    python tools/model_converters/mmdet_to_rfdetr.py \
        work_dirs/rfdetr_nano_coco/epoch_100.pth nano.pth \
        --config configs/rfdetr/rfdetr_nano_coco.py

    python -c "from rfdetr import RFDETR; RFDETR.from_checkpoint('nano.pth')"
"""

import argparse
import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fit_to_config import fit_to_config
from mmengine.config import Config

import rfdetr_mm  # noqa: F401  (registers the model)
from rfdetr_mm.checkpoints import (
    ConversionReport,
    check_target,
    read_checkpoint,
    read_upstream_layout,
    summarise,
    to_upstream_checkpoint,
    write_checkpoint,
)

PYRAMID_LEVELS = {2.0: 'P3', 1.0: 'P4', 0.5: 'P5'}

# Patch side, windows per side, decoder layers, DINOv2 size.
MODEL_NAMES = {
    (16, 2, 2, 'small'): 'RFDETRNano',
    (16, 2, 3, 'small'): 'RFDETRSmall',
    (16, 2, 4, 'small'): 'RFDETRMedium',
    (14, 4, 3, 'small'): 'RFDETRBase',
    (14, 4, 3, 'base'): 'RFDETRLargeDeprecated',
    (20, 1, 5, 'base'): 'RFDETRXLarge',
    (20, 2, 5, 'base'): 'RFDETR2XLarge',
}
SEG_MODEL_NAMES = {
    (12, 1, 4, 'small'): 'RFDETRSegNano',
    (12, 2, 4, 'small'): 'RFDETRSegSmall',
    (12, 2, 5, 'small'): 'RFDETRSegMedium',
    (12, 2, 6, 'small'): 'RFDETRSegXLarge',
}
# These differ from those in the side of the position table alone.
LARGER_NAMES = {
    ('RFDETRMedium', 44): 'RFDETRLarge',
    ('RFDETRSegSmall', 36): 'RFDETRSegPreview',
    ('RFDETRSegMedium', 42): 'RFDETRSegLarge',
    ('RFDETRSegXLarge', 64): 'RFDETRSeg2XLarge',
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('src', help='checkpoint of this package')
    parser.add_argument('dst', help='where to write the file for rfdetr')
    parser.add_argument(
        '--config', required=True, help='config of the model it is from'
    )
    parser.add_argument(
        '--force', action='store_true', help='replace an existing DST'
    )
    return parser.parse_args()


def upstream_architecture(config: Config) -> dict[str, Any]:
    """Describe the config's model in upstream's words."""
    backbone, head = config.model.backbone, config.model.bbox_head
    decoder = head.decoder
    registers = 'registers_' if backbone.get('num_registers', 0) else ''
    return dict(
        encoder=f'dinov2_{registers}windowed_{backbone.arch}',
        patch_size=backbone.patch_size,
        num_windows=backbone.num_windows,
        positional_encoding_size=backbone.img_size // backbone.patch_size,
        resolution=input_side(config),
        out_feature_indexes=[i + 1 for i in backbone.out_indices],
        projector_scale=[
            PYRAMID_LEVELS[s] for s in config.model.neck.scale_factors
        ],
        hidden_dim=head.embed_dims,
        dec_layers=decoder.num_layers,
        sa_nheads=decoder.self_attn_num_heads,
        ca_nheads=decoder.cross_attn_num_heads,
        dec_n_points=decoder.num_points,
        num_select=config.model.test_cfg.max_per_img,
    )


def input_side(config: Config) -> int:
    """Side in pixels of the square test images, else of the table."""
    for step in config.get('test_pipeline', ()):
        scale = step.get('scale')
        if isinstance(scale, (list, tuple)) and scale[0] == scale[1]:
            return scale[0]
    return config.model.backbone.img_size


def model_name(config: Config, architecture: Mapping[str, Any]) -> str | None:
    """Name of upstream's class of this architecture, if it has one."""
    is_seg = config.model.bbox_head.type == 'RFDETRInsHead'
    name = (SEG_MODEL_NAMES if is_seg else MODEL_NAMES).get(
        (
            architecture['patch_size'],
            architecture['num_windows'],
            architecture['dec_layers'],
            config.model.backbone.arch,
        )
    )
    side = architecture['positional_encoding_size']
    return LARGER_NAMES.get((name, side), name)


def convert(src: Path, config: Config) -> tuple[dict, ConversionReport]:
    """Read a file, check it against the config's model and convert it."""
    content = read_checkpoint(src)
    if read_upstream_layout(content) is not None:
        raise ValueError(f'{src} is an rfdetr file already.')
    weights = content.get('state_dict', content)
    weights, notes = fit_to_config(weights, config)
    architecture = upstream_architecture(config)
    checkpoint, report = to_upstream_checkpoint(
        dict(state_dict=weights, meta=content.get('meta', {})), **architecture
    )
    args = checkpoint['args']
    settings = ('num_classes', 'num_queries', 'group_detr')
    checkpoint['model_config'] = {
        **architecture,
        **{name: args[name] for name in settings},
    }
    name = model_name(config, architecture)
    if name is not None:
        checkpoint['model_name'] = name
    return checkpoint, dataclasses.replace(report, notes=report.notes + notes)


def main() -> int:
    """Convert, check, write, report."""
    args = parse_args()
    try:
        check_target(args.dst, args.force)
        checkpoint, report = convert(
            Path(args.src).expanduser(), Config.fromfile(args.config)
        )
        md5 = write_checkpoint(checkpoint, args.dst, args.force)
    except (ValueError, OSError) as error:
        print(f'mmdet_to_rfdetr: {error}', file=sys.stderr)
        return 1
    print(summarise(report))
    print(f'every key and shape fits the model of {args.config}')
    print(f'wrote {args.dst} (MD5 {md5})')
    return 0


if __name__ == '__main__':
    sys.exit(main())
