"""Write a data set in the YOLO layout as COCO's annotation files.

RF-DETR's own configs read the YOLO layout as it is. The files are for other
models and tools, which want COCO's: the images stay where they are.

Example:
    python tools/dataset_converters/yolo_to_coco.py my_set/data.yaml

    python tools/train.py OTHER_CONFIG --cfg-options \
        train_dataloader.dataset.data_root=my_set/ \
        train_dataloader.dataset.ann_file=coco/instances_train.json \
        train_dataloader.dataset.data_prefix.img=''
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / 'rfdetr_mm' / '__init__.py').is_file():
    sys.path.insert(0, str(ROOT))

from rfdetr_mm.checkpoints import atomic_file  # noqa: E402
from rfdetr_mm.datasets.layouts import SPLITS  # noqa: E402
from rfdetr_mm.datasets.yolo import read_yolo_split  # noqa: E402
from rfdetr_mm.datasets.yolo_layout import read_yolo_yaml  # noqa: E402
from rfdetr_mm.errors import InputError  # noqa: E402


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('yaml', type=Path, help='data.yaml of the data set')
    parser.add_argument(
        '--out-dir',
        type=Path,
        help='folder of instances_{train,val,test}.json (default: coco beside '
        'the YAML file)',
    )
    return parser.parse_args(argv)


def coco_content(path: Path, split: str) -> dict[str, list[dict]]:
    """Read a split as the content of an annotation file.

    Args:
        path: The YAML file.
        split: 'train', 'val' or 'test'.

    Returns:
        ``images``, whose names are relative to the YAML file's folder,
        ``annotations`` and ``categories``, whose ids count from 1.
    """
    file = read_yolo_split(str(path), split)
    return dict(
        images=[
            {
                **image,
                'file_name': os.path.relpath(image['file_name'], path.parent),
            }
            for image in file.images
        ],
        annotations=[
            {**annotation, 'category_id': annotation['category_id'] + 1}
            for annotation in file.annotations
        ],
        categories=[
            {**category, 'id': category['id'] + 1}
            for category in file.categories
        ],
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Convert all splits that are there; return the exit code."""
    args = parse_args(argv)
    out_dir = args.out_dir or args.yaml.parent / 'coco'
    try:
        layout = read_yolo_yaml(str(args.yaml))
        splits = [s for s in SPLITS if layout.has_split(s)]
        contents = {s: coco_content(args.yaml, s) for s in splits}
        if not contents:
            raise InputError(f'{args.yaml} names no images that are there')
        for split, content in contents.items():
            target = out_dir / f'instances_{split}.json'
            with atomic_file(target) as file:
                file.write(json.dumps(content).encode())
            print(
                f'wrote {target}: {len(content["images"])} images, '
                f'{len(content["annotations"])} objects'
            )
    except (InputError, OSError) as error:
        print(f'yolo_to_coco: {error}', file=sys.stderr)
        return 1
    print(f"data_root={args.yaml.parent}/ data_prefix.img=''")
    return 0


if __name__ == '__main__':
    sys.exit(main())
