"""The one table of sizes: all that is called after a size follows from it.

A new size is a row here and a config; if its weights are published, an entry
of a ``metafile.yml`` besides. From a row follow the class of
:mod:`rfdetr_mm.apis`, the names on the command line, what ``rfdetr-mm info``
shows, the published files, and how a checkpoint is recognised.
"""

import difflib
from dataclasses import dataclass
from typing import NamedTuple

from .errors import InputError


@dataclass(frozen=True)
class PublishedFile:
    """One file of weights.

    Args:
        name: Its name in the cache and in ``rfdetr://…``.
        remote: Its address below upstream's; None if the file comes with
            this package.
        md5: MD5 of its content.
        licence: ``'Apache-2.0'`` or ``'PML-1.0'``.
    """

    name: str
    remote: str | None
    md5: str
    licence: str = 'Apache-2.0'


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


class Architecture(NamedTuple):
    """The numbers of a config by which weights are recognised.

    Attributes:
        encoder: Upstream's name of the encoder.
        patch_size: Side of a patch in pixels.
        num_windows: Attention windows per side.
        hidden_dim: Width of the decoder.
        dec_layers: Decoder layers.
        positional_encoding_size: Side of the position table in patches.
        num_queries: Queries of each group.
    """

    encoder: str
    patch_size: int
    num_windows: int
    hidden_dim: int
    dec_layers: int
    positional_encoding_size: int
    num_queries: int


@dataclass(frozen=True)
class Size:
    """One size.

    Args:
        task: What it finds.
        word: Its name among the sizes of its task.
        class_name: The name of its class in :mod:`rfdetr_mm.apis`.
        title: What it is, the beginning of a sentence.
        image_px: Side of its square images in pixels.
        parameters_m: Parameters in millions, with COCO's classes (Tiny: with
            its own ones).
        architecture: The numbers of its config that tell it from others.
        file: The weights that it starts from.
        more_files: Other weights of this size.
        aliases: Other spellings of its short name in names of files.
        upstream_name: ``RFDETR….size`` where it is not
            ``rfdetr-SHORT_NAME``.
    """

    task: Task
    word: str
    class_name: str
    title: str
    image_px: int
    parameters_m: float
    architecture: Architecture
    file: PublishedFile
    more_files: tuple[PublishedFile, ...] = ()
    aliases: tuple[str, ...] = ()
    upstream_name: str | None = None

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
    def weights(self) -> str:
        """The name of the file that it starts from."""
        return self.file.name

    @property
    def is_shipped(self) -> bool:
        """Whether its weights come with this package, not from upstream."""
        return self.file.remote is None


_MINI = 'dinov2_windowed_mini'  # not one of upstream's
_SMALL = 'dinov2_windowed_small'
_BASE = 'dinov2_windowed_base'

_ROWS = (
    Size(
        DETECTION,
        'nano',
        'RFDETRNano',
        'RF-DETR Nano',
        384,
        30.43,
        Architecture(_SMALL, 16, 2, 256, 2, 24, 300),
        PublishedFile(
            'rf-detr-nano.pth',
            'nano_coco/checkpoint_best_regular.pth',
            'fb6504cce7fbdc783f7a46991f07639f',
        ),
    ),
    Size(
        DETECTION,
        'small',
        'RFDETRSmall',
        'RF-DETR Small',
        512,
        32.07,
        Architecture(_SMALL, 16, 2, 256, 3, 32, 300),
        PublishedFile(
            'rf-detr-small.pth',
            'small_coco/checkpoint_best_regular.pth',
            'fb37061c1af7bace359c91b723a8d5c1',
        ),
    ),
    Size(
        DETECTION,
        'medium',
        'RFDETRMedium',
        'RF-DETR Medium',
        576,
        33.65,
        Architecture(_SMALL, 16, 2, 256, 4, 36, 300),
        PublishedFile(
            'rf-detr-medium.pth',
            'medium_coco/checkpoint_best_regular.pth',
            '7223f764a87b863f02eb8d52bf0ce2ee',
        ),
    ),
    Size(
        DETECTION,
        'large',
        'RFDETRLarge',
        'RF-DETR Large of 2026',
        704,
        33.89,
        Architecture(_SMALL, 16, 2, 256, 4, 44, 300),
        PublishedFile(
            'rf-detr-large-2026.pth',
            'rf-detr-large-2026.pth',
            '5cb72153541cbcb9aa6efa26222acc75',
        ),
    ),
    Size(
        DETECTION,
        'base',
        'RFDETRBase',
        'RF-DETR Base, the first release',
        560,
        32.13,
        Architecture(_SMALL, 14, 4, 256, 3, 37, 300),
        PublishedFile(
            'rf-detr-base.pth',
            'rf-detr-base-coco.pth',
            'b4d3ce46099eaed50626ede388caf979',
        ),
        more_files=(
            PublishedFile(
                'rf-detr-base-o365.pth',
                'top-secret-1234/lwdetr_dinov2_small_o365_checkpoint.pth',
                'd93f4921ccbb0f0a2e4364bed290892b',
            ),
            PublishedFile(
                'rf-detr-base-2.pth',
                'rf-detr-base-2.pth',
                '462f4d9df407ddc1812f42614040e913',
            ),
        ),
    ),
    Size(
        DETECTION,
        'large-deprecated',
        'RFDETRLargeDeprecated',
        'RF-DETR Large of the first release',
        560,
        135.58,
        Architecture(_BASE, 14, 4, 384, 3, 37, 300),
        PublishedFile(
            'rf-detr-large.pth',
            'rf-detr-large.pth',
            '992c8e862aa733a7bb2777e45d49f1a0',
        ),
        upstream_name='rfdetr-large',
    ),
    Size(
        DETECTION,
        'xlarge',
        'RFDETRXLarge',
        'RF-DETR XLarge',
        700,
        126.28,
        Architecture(_BASE, 20, 1, 512, 5, 35, 300),
        PublishedFile(
            'rf-detr-xlarge.pth',
            'platform-licensed/rf-detr-xlarge.pth',
            '6ddf834f2bc5bed3214a82f9b0aaeed7',
            'PML-1.0',
        ),
    ),
    Size(
        DETECTION,
        '2xlarge',
        'RFDETR2XLarge',
        'RF-DETR 2XLarge',
        880,
        126.82,
        Architecture(_BASE, 20, 2, 512, 5, 44, 300),
        PublishedFile(
            'rf-detr-xxlarge.pth',
            'platform-licensed/rf-detr-xxlarge.pth',
            'e3204689c1f0280427e4c33e6a2ac6cd',
            'PML-1.0',
        ),
        aliases=('xxlarge',),
    ),
    Size(
        SEGMENTATION,
        'preview',
        'RFDETRSegPreview',
        'RF-DETR Preview with masks',
        432,
        34.11,
        Architecture(_SMALL, 12, 2, 256, 4, 36, 200),
        PublishedFile(
            'rf-detr-seg-preview.pt',
            'rf-detr-seg-preview.pt',
            'e35820c28fb86080558123e47a5e49ca',
        ),
    ),
    Size(
        SEGMENTATION,
        'nano',
        'RFDETRSegNano',
        'RF-DETR Nano with masks',
        312,
        33.54,
        Architecture(_SMALL, 12, 1, 256, 4, 26, 100),
        PublishedFile(
            'rf-detr-seg-nano.pt',
            'rf-detr-seg-n-ft.pth',
            '9995497791d0ff1664a1d9ddee9cfd20',
        ),
    ),
    Size(
        SEGMENTATION,
        'small',
        'RFDETRSegSmall',
        'RF-DETR Small with masks',
        384,
        33.67,
        Architecture(_SMALL, 12, 2, 256, 4, 32, 100),
        PublishedFile(
            'rf-detr-seg-small.pt',
            'rf-detr-seg-s-ft.pth',
            '0a2a3006381d0c42853907e700eadd08',
        ),
    ),
    Size(
        SEGMENTATION,
        'medium',
        'RFDETRSegMedium',
        'RF-DETR Medium with masks',
        432,
        35.65,
        Architecture(_SMALL, 12, 2, 256, 5, 36, 200),
        PublishedFile(
            'rf-detr-seg-medium.pt',
            'rf-detr-seg-m-ft.pth',
            'a49af1562c3719227ad43d0ca53b4c7a',
        ),
    ),
    Size(
        SEGMENTATION,
        'large',
        'RFDETRSegLarge',
        'RF-DETR Large with masks',
        504,
        35.83,
        Architecture(_SMALL, 12, 2, 256, 5, 42, 200),
        PublishedFile(
            'rf-detr-seg-large.pt',
            'rf-detr-seg-l-ft.pth',
            '275f7b094909544ed2841c94a677d07e',
        ),
    ),
    Size(
        SEGMENTATION,
        'xlarge',
        'RFDETRSegXLarge',
        'RF-DETR XLarge with masks',
        624,
        38.07,
        Architecture(_SMALL, 12, 2, 256, 6, 52, 300),
        PublishedFile(
            'rf-detr-seg-xlarge.pt',
            'rf-detr-seg-xl-ft.pth',
            '3693b35d0eea86ebb3e0444f4a611fba',
        ),
    ),
    Size(
        SEGMENTATION,
        '2xlarge',
        'RFDETRSeg2XLarge',
        'RF-DETR 2XLarge with masks',
        768,
        38.61,
        Architecture(_SMALL, 12, 2, 256, 6, 64, 300),
        PublishedFile(
            'rf-detr-seg-xxlarge.pt',
            'rf-detr-seg-2xl-ft.pth',
            '040bc3412af840fa8a47e0ff69b552ba',
        ),
        aliases=('seg-xxlarge',),
    ),
    # Not a size of upstream's. Its weights know the 36 kinds of shapes that
    # demo/pretraining_shapes.py draws, and nothing of photographs or COCO.
    Size(
        DETECTION,
        'tiny',
        'RFDETRTiny',
        'RF-DETR Tiny, for trying things out without a network',
        112,
        3.62,
        Architecture(_MINI, 8, 2, 128, 2, 14, 16),
        PublishedFile(
            'rf-detr-tiny-shapes.pth', None, 'a53cf89bdef9224d862a1c17318f5c92'
        ),
    ),
)

SIZES: dict[str, Size] = {size.class_name: size for size in _ROWS}
"""Class name to size, in the order in which they are shown."""

FILES_OF_NO_SIZE = (
    PublishedFile(
        'rf-detr-keypoint-preview-xlarge.pth',
        'rf-detr-keypoint-preview-xlarge.pth',
        '6de511943ee85a547d4c5cb527daf0eb',
    ),
)
"""What upstream has published besides."""


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
    sizes = {size.short_name: size for size in SIZES.values()}
    short = name.lower().replace('_', '-').removesuffix('.py')
    for part in ('rfdetr', 'rf-detr'):
        short = short.removeprefix(part)
    for part in ('-coco', '-custom'):
        short = short.removesuffix(part)
    short = short.strip('-')
    if short not in sizes:
        close = difflib.get_close_matches(short, sizes, 1, 0.4)
        hint = f' Did you mean {close[0]}?' if close else ''
        raise InputError(
            f'{name!r} is no size.{hint} Sizes are: {", ".join(sizes)}.'
        )
    return sizes[short]
