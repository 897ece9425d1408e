"""A part of a detector's weights that is a smaller or larger detector.

One set of weights, a supernet, contains thousands of detectors: the image
size, the patch size, the number of windows, of decoder layers and of queries
can be changed after training. A :class:`Subnet` names one of them, a
:class:`SearchSpace` all that a training draws from and a search chooses from.
"""

import itertools
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.blocks import check_divisible, rounded_to_blocks

from .data_preprocessors import BatchSubnetResize

_NAME = re.compile(r'(\d+)x(\d+)-p(\d+)-w(\d+)-d(\d+)-q(\d+)')


@dataclass(frozen=True, order=True)
class Subnet:
    """One detector in a supernet; ``str()`` gives its name.

    Attributes:
        resolution: (height, width) of the input in pixels.
        patch_size: Side of a patch in pixels.
        num_windows: Attention windows per side.
        num_decoder_layers: 0: the proposals are the detections.
        num_queries: The best-scored proposals that stay.

    Raises:
        InputError: If a number is too small for its meaning.

    Source: "RF-DETR: Neural Architecture Search for Real-Time Detection
        Transformers" (arXiv 2511.09554), the five knobs.
    """

    resolution: tuple[int, int]
    patch_size: int
    num_windows: int
    num_decoder_layers: int
    num_queries: int

    def __post_init__(self) -> None:
        least = {'num_decoder_layers': 0}
        values = {**vars(self), 'height': self.resolution[0]}
        values['width'] = self.resolution[1]
        del values['resolution']
        for name, value in values.items():
            if not isinstance(value, int) or value < least.get(name, 1):
                raise InputError(
                    f'{name} of a sub-network is an integer of at least '
                    f'{least.get(name, 1)}, got {value!r}'
                )

    @classmethod
    def parse(cls, name: str) -> 'Subnet':
        """Read a name such as ``384x512-p16-w2-d3-q300`` (H x W).

        Args:
            name: The name.

        Returns:
            The sub-network.

        Raises:
            InputError: If the name is not such a name.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise InputError(
                f'{name!r} names no sub-network. A name is HEIGHTxWIDTH-'
                'pPATCH-wWINDOWS-dLAYERS-qQUERIES, e.g. 384x512-p16-w2-d3-'
                'q300: 384 px high, 512 px wide, patches of 16 px, 2 x 2 '
                'windows, 3 decoder layers, 300 queries'
            )
        height, width, *others = map(int, match.groups())
        return cls((height, width), *others)

    def __str__(self) -> str:
        height, width = self.resolution
        return (
            f'{height}x{width}-p{self.patch_size}-w{self.num_windows}'
            f'-d{self.num_decoder_layers}-q{self.num_queries}'
        )

    @property
    def block(self) -> int:
        """Pixels; both sides must be a multiple of them."""
        return self.patch_size * self.num_windows

    def rounded(self) -> 'Subnet':
        """The same with the nearest size that the windows fill.

        Half a block is rounded up, and a side has one block at least.
        """
        return replace(
            self,
            resolution=tuple(
                rounded_to_blocks(side, self.block) for side in self.resolution
            ),
        )


def apply_subnet(model: nn.Module, subnet: Subnet) -> None:
    """Let a detector be a sub-network from now on.

    Weights and keys stay as they are.

    Args:
        model: An RFDETR.
        subnet: What it is to be; its resolution is that of the images that
            the model will be given. A ``BatchSubnetResize`` in the data
            preprocessor makes them.

    Raises:
        InputError: If the sub-network is impossible or not in the model.
    """
    backbone, head = model.backbone, model.bbox_head
    check_subnet(
        subnet, len(head.decoder.layers), head.query_embedding.shape[1]
    )
    if hasattr(head, 'mask_branch'):
        # A mask keeps its size in pixels of the input.
        ratio = head.mask_branch.upsample_ratio
        head.mask_branch.upsample_ratio = (
            ratio * subnet.patch_size / backbone.patch_size
        )
    backbone.patch_size = subnet.patch_size
    backbone.num_windows = subnet.num_windows
    head.num_layers = subnet.num_decoder_layers
    head.num_queries = subnet.num_queries
    for step in getattr(model.data_preprocessor, 'batch_augments', None) or ():
        if isinstance(step, BatchSubnetResize):
            step.size = subnet.resolution


def check_subnet(subnet: Subnet, num_layers: int, num_queries: int) -> None:
    """Raise unless a sub-network is possible and a part of a model.

    Args:
        subnet: The sub-network.
        num_layers: Decoder layers that the model has.
        num_queries: Queries of a group that the model has.

    Raises:
        InputError: With rule, arithmetic and way out.
    """
    check_divisible(
        f'{subnet}: the image size',
        subnet.resolution,
        subnet.patch_size,
        subnet.num_windows,
    )
    for what, wanted, available in (
        ('decoder layers', subnet.num_decoder_layers, num_layers),
        ('queries', subnet.num_queries, num_queries),
    ):
        if wanted > available:
            raise InputError(
                f'{subnet}: a sub-network is a part of the model, which has '
                f'{available} {what}, {wanted - available} fewer than the '
                f'{wanted} wanted; take {available} at most, or train a '
                'model with more'
            )


@dataclass(frozen=True)
class SearchSpace:
    """All combinations of the values of five knobs.

    Attributes:
        resolutions: Nominal image sizes, (height, width) in pixels; a point
            is rounded to whole blocks, see :meth:`Subnet.rounded`.
        patch_sizes: Patch sizes in pixels.
        num_windows: Per side.
        num_decoder_layers: How many are run.
        num_queries: How many are kept.

    Raises:
        InputError: If a knob has no value.
    """

    resolutions: tuple[tuple[int, int], ...]
    patch_sizes: tuple[int, ...]
    num_windows: tuple[int, ...]
    num_decoder_layers: tuple[int, ...]
    num_queries: tuple[int, ...]

    def __post_init__(self) -> None:
        for name, values in vars(self).items():
            if not values or len(set(values)) < len(values):
                raise InputError(
                    f'search_space.{name} lists the values of a knob, at '
                    f'least one and each once, got {list(values)}'
                )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> 'SearchSpace':
        """Read the ``search_space`` of a config.

        Args:
            config: Lists by the names of the attributes; a resolution is a
                side of a square or [height, width].

        Returns:
            The space.

        Raises:
            InputError: If a knob is missing, unknown or has no value.
        """
        names = list(cls.__dataclass_fields__)
        if set(config) != set(names):
            raise InputError(
                f'search_space has the entries {names}, got {sorted(config)}'
            )
        values = {name: tuple(config[name]) for name in names}
        values['resolutions'] = tuple(
            (size, size) if isinstance(size, int) else tuple(size)
            for size in values['resolutions']
        )
        return cls(**values)

    def _knobs(self) -> list[Sequence]:
        return list(vars(self).values())

    def __len__(self) -> int:
        length = 1
        for values in self._knobs():
            length *= len(values)
        return length

    def __iter__(self) -> Iterator[Subnet]:
        """All nominal points."""
        return itertools.starmap(Subnet, itertools.product(*self._knobs()))

    def draw(self, step: int, seed: int = 0) -> Subnet:
        """Draw a nominal point; each is equally likely.

        Args:
            step: Number of the draw.
            seed: The seed of the sequence of draws.

        Returns:
            The same point for the same numbers, on every machine.
        """
        generator = random.Random(f'{seed}/{step}')
        return Subnet(*(generator.choice(knob) for knob in self._knobs()))

    def largest(self) -> Subnet:
        """The real point that needs the most memory."""
        points = [
            Subnet(
                size,
                min(self.patch_sizes),
                min(self.num_windows),
                max(self.num_decoder_layers),
                max(self.num_queries),
            ).rounded()
            for size in self.resolutions
        ]
        return max(points, key=lambda p: p.resolution[0] * p.resolution[1])

    def largest_size(self) -> tuple[int, int]:
        """Largest real (height, width) in pixels of all points."""
        sizes = [
            Subnet(size, patch, windows, 0, 1).rounded().resolution
            for size, patch, windows in itertools.product(
                self.resolutions, self.patch_sizes, self.num_windows
            )
        ]
        return max(h for h, _ in sizes), max(w for _, w in sizes)
