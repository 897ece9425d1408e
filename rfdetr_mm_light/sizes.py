"""The one table of sizes, ``sizes.csv``: what is called after a size is there.

A new size is a row of the table and a config; if its weights are published,
an entry of a ``metafile.yml`` besides. From the row follow the class of
:mod:`rfdetr_mm.apis`, the names on the command line, what ``rfdetr-mm info``
shows, the published file, and how a checkpoint is recognised.
"""

import csv
import difflib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

from .errors import InputError


class Task(NamedTuple):
    """What the sizes of one task have in common.

    Attributes:
        prefix: What their short names begin with.
        configs: What the paths of their configs below ``configs`` begin with.
        head: The registry name of their head.
        weights_part: What is part of the name of a weight of this task, and
            of no weight of the other tasks; None if there is no such part.
    """

    prefix: str
    configs: str
    head: str
    weights_part: str | None


DETECTION = Task('', 'rfdetr/rfdetr_', 'RFDETRHead', None)
SEGMENTATION = Task(
    'seg-', 'rfdetr_seg/rfdetr-seg_', 'RFDETRInsHead', 'mask_branch.'
)
KEYPOINTS = Task(
    'pose-', 'rfdetr_pose/rfdetr-pose_', 'RFDETRPoseHead', 'keypoint_branch.'
)
TASKS = {
    'detection': DETECTION,
    'segmentation': SEGMENTATION,
    'keypoint': KEYPOINTS,
}
"""The words of the table's column ``task``."""


@dataclass(frozen=True)
class Size:
    """One size, a row of the table.

    Those of its numbers that are in the config as well are those by which
    weights are recognised.

    Args:
        task: What it finds.
        word: Its name among the sizes of its task.
        class_name: The name of its class in :mod:`rfdetr_mm.apis`.
        title: What it is, the beginning of a sentence.
        image_px: Side of its square images in pixels.
        parameters_m: Parameters in millions, with COCO's classes (Tiny and
            those with keypoints: with their own ones).
        encoder: Upstream's name of the encoder.
        patch_size: Side of a patch in pixels.
        num_windows: Attention windows per side.
        hidden_dim: Width of the decoder.
        dec_layers: Decoder layers.
        positional_encoding_size: Side of the position table in patches.
        num_queries: Queries of each group.
        weights: The name of the file that it starts from.
        remote: Its address below upstream's; empty if the file comes with
            this package.
        md5: MD5 of its content.
        licence: Its licence, ``'Apache-2.0'`` or ``'PML-1.0'``.
        aliases: Other spellings of its short name.
        upstream_name: ``RFDETR….size`` where it is not
            ``rfdetr-SHORT_NAME``.
    """

    task: Task
    word: str
    class_name: str
    title: str
    image_px: int
    parameters_m: float
    encoder: str
    patch_size: int
    num_windows: int
    hidden_dim: int
    dec_layers: int
    positional_encoding_size: int
    num_queries: int
    weights: str
    remote: str
    md5: str
    licence: str
    aliases: tuple[str, ...] = ()
    upstream_name: str = ''

    @property
    def short_name(self) -> str:
        """The name on the command line: ``nano``, ``seg-nano``."""
        return self.task.prefix + self.word

    @property
    def size(self) -> str:
        """Upstream's name, ``RFDETR….size``."""
        return self.upstream_name or f'rfdetr-{self.short_name}'

    @property
    def config(self) -> str:
        """The config for a data set of the user's, below ``configs``."""
        return f'{self.task.configs}{self.word}_custom.py'

    @property
    def is_shipped(self) -> bool:
        """Whether its weights come with this package, not from upstream."""
        return not self.remote


def read_sizes(path: Path) -> dict[str, Size]:
    """Read a table of sizes.

    Args:
        path: A CSV file whose columns are the arguments of :class:`Size`;
            several aliases are separated by spaces.

    Returns:
        Class name to size, in the order of the file.
    """
    with open(path, newline='', encoding='utf-8') as file:
        return {row['class_name']: _size(row) for row in csv.DictReader(file)}


def _size(row: dict[str, str]) -> Size:
    numbers = {
        field.name: field.type(row[field.name])
        for field in fields(Size)
        if field.type in (int, float)
    }
    task, aliases = TASKS[row['task']], tuple(row['aliases'].split())
    return Size(**{**row, **numbers, 'task': task, 'aliases': aliases})


SIZES = read_sizes(Path(__file__).with_name('sizes.csv'))
"""Class name to size, in the order in which they are shown."""


def find_size(name: str) -> Size:
    """Find a size by any of its names.

    Args:
        name: ``nano``, ``rfdetr-nano``, ``RFDETRNano`` or
            ``rfdetr_nano_coco``.

    Returns:
        The size.

    Raises:
        InputError: If there is none of this name; the message lists the
            sizes.
    """
    if name in SIZES:
        return SIZES[name]
    sizes = {
        word: size
        for size in SIZES.values()
        for word in (size.short_name, *size.aliases)
    }
    short = name.lower().replace('_', '-').removesuffix('.py')
    for part in ('rfdetr', 'rf-detr'):
        short = short.removeprefix(part)
    for part in ('-coco', '-custom'):
        short = short.removesuffix(part)
    short = short.strip('-')
    if short not in sizes:
        close = difflib.get_close_matches(short, sizes, 1, 0.4)
        hint = f' Did you mean {close[0]}?' if close else ''
        names = ', '.join(size.short_name for size in SIZES.values())
        raise InputError(
            f'There is no size {name!r}.{hint} Sizes are: {names}.'
        )
    return sizes[short]
