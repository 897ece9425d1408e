"""Draw the data set of the demo with masks: ``python demo/tiny_masks.py DIR``.

Pictures, boxes and masks are those of ``tiny_shapes.py``, as hard and as many.
The class is the colour alone: red, green or blue, so 3 classes instead of 12.
What shape an object has, and which part of it is hidden, is left to its mask.

This was fixed before any model was trained on it. The classes are fewer than
in ``tiny_shapes.py`` because telling shapes apart takes longer than the
minutes that this demo has; finding their outlines does not.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from tiny_shapes import CLASSES, HUES, SPLITS, write_tiny_shapes


def keep_colours(ann_file: Path) -> None:
    """Rewrite an annotation file of the shapes: classes become colours.

    Args:
        ann_file: What ``write_tiny_shapes`` has written; changed in place.
    """
    content = json.loads(ann_file.read_text())
    new_ids = {hue: number for number, hue in enumerate(HUES, start=1)}
    for annotation in content['annotations']:
        hue, _ = CLASSES[annotation['category_id'] - 1].split()
        annotation['category_id'] = new_ids[hue]
    content['categories'] = [
        dict(id=number, name=hue) for hue, number in new_ids.items()
    ]
    ann_file.write_text(json.dumps(content))


def write_tiny_masks(folder: Path, splits: dict[str, int] = SPLITS) -> None:
    """Write the data set; an existing one of the same name is replaced.

    Args:
        folder: The data set's folder; it is made.
        splits: Images of each split, the whole data set by default.
    """
    write_tiny_shapes(folder, splits)
    for name in splits:
        keep_colours(folder / f'{name}.json')


def main(argv: Sequence[str] | None = None) -> None:
    """Write the data set and say where it is."""
    parser = argparse.ArgumentParser(description='Draw the masks data set')
    parser.add_argument('folder', type=Path, help='where to write it')
    args = parser.parse_args(argv)
    write_tiny_masks(args.folder)
    print(f'{sum(SPLITS.values())} images are in {args.folder}')


if __name__ == '__main__':
    main()
