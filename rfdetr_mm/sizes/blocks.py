"""Image sizes that windows of patches fill."""

import math
from collections.abc import Sequence

from rfdetr_mm.errors import InputError

MAX_SIDE_PX = 2**16  # beyond what any memory holds
MIN_BLOCKS = 2  # per side, of multi-scale training


def rounded_to_blocks(side_px: int, block_px: int) -> int:
    """Round a side to the nearest multiple of a block.

    Args:
        side_px: The side in pixels.
        block_px: ``patch_size * num_windows`` in pixels.

    Returns:
        The side in pixels; half a block is rounded up, and there is one
        block at least.
    """
    return max(1, (2 * side_px + block_px) // (2 * block_px)) * block_px


def nearest_sizes(
    size_hw: Sequence[int], block_px: int
) -> list[tuple[int, int]]:
    """List the sizes beside one that is not legal, the smaller one first.

    Args:
        size_hw: (height, width) in pixels.
        block_px: ``patch_size * num_windows`` in pixels.

    Returns:
        One or two sizes (height, width) in pixels, multiples of the block.
    """
    below = [max(1, side // block_px) * block_px for side in size_hw]
    above = [max(1, -(-side // block_px)) * block_px for side in size_hw]
    return list(dict.fromkeys([tuple(below), tuple(above)]))


def check_divisible(
    name: str, size_hw: Sequence[int], patch_size: int, num_windows: int
) -> None:
    """Refuse an image size that windows of patches do not fill.

    Args:
        name: What has this size, at the beginning of the message.
        size_hw: (height, width) in pixels.
        patch_size: Side of a patch of the backbone in pixels.
        num_windows: Windows of the backbone per side.

    Raises:
        InputError: With the rule, its numbers and the nearest legal sizes.
    """
    block = patch_size * num_windows
    height, width = size_hw
    if min(height, width) > 0 and not (height % block or width % block):
        return
    left = [
        f'{side} = {side // block} * {block} + {side % block}'
        for side in dict.fromkeys((height, width))
        if side % block
    ]
    raise InputError(
        f'{name} must be a positive multiple of patch_size * num_windows = '
        f'{patch_size} * {num_windows} = {block} px on both sides, so that '
        f'windows of whole patches fill the image: got {height} x {width} '
        f'(H x W){"".join(f", {line}" for line in left)}. '
        f'{_nearest(size_hw, block)}'
    )


def _nearest(size_hw: Sequence[int], block: int) -> str:
    near = [f'{h} x {w}' for h, w in nearest_sizes(size_hw, block)]
    if len(near) == 1:
        return f'The nearest legal size is {near[0]}.'
    return f'The nearest legal sizes are {" and ".join(near)}.'


def parse_resolution(
    value: object, patch_size: int, num_windows: int
) -> tuple[int, int]:
    """Read an image size that a user has given.

    Args:
        value: Side of a square, or (height, width), in pixels.
        patch_size: Side of a patch of the backbone in pixels.
        num_windows: Windows of the backbone per side.

    Returns:
        (height, width) in pixels.

    Raises:
        InputError: If it is anything else, or no size that windows of
            patches fill.
    """
    sides = list(value) if isinstance(value, (list, tuple)) else [value] * 2
    block = patch_size * num_windows
    if len(sides) != 2 or not all(
        hasattr(side, '__index__') and not isinstance(side, bool)
        for side in sides
    ):
        numbers = [
            int(side)
            for side in sides
            if type(side) in (int, float) and math.isfinite(side)
        ]
        legal = f'Legal are {block}, {2 * block}, {3 * block} and so on.'
        if numbers:
            legal = _nearest((numbers * 2)[:2], block)
        raise InputError(
            'resolution must be the side of a square, such as resolution='
            f'{8 * block}, or "(height, width)", in whole pixels and in '
            f'multiples of patch_size * num_windows = {patch_size} * '
            f'{num_windows} = {block}: got {value!r:.80}. {legal}'
        )
    size_hw = (sides[0].__index__(), sides[1].__index__())
    if max(size_hw) > MAX_SIDE_PX:
        raise InputError(
            f'resolution must be at most {MAX_SIDE_PX} px on each side, got '
            f'{value!r:.80}.'
        )
    check_divisible(
        f'resolution={value!r}: an image size',
        size_hw,
        patch_size,
        num_windows,
    )
    return size_hw


def multi_scale_sizes(
    img_size: int | tuple[int, int],
    patch_size: int,
    num_windows: int,
    expanded: bool = True,
) -> list[tuple[int, int]]:
    """List the image sizes of multi-scale training.

    A block is patch_size * num_windows pixels, the least step of a side. The
    short side varies by up to five blocks around the image size and has two
    at least; the long side of a rectangle follows it, rounded to blocks.

    Args:
        img_size: Side of a square, or (height, width), in pixels.
        patch_size: Side of a patch of the backbone in pixels.
        num_windows: Windows of the backbone per side.
        expanded: From -5 to +5 blocks; otherwise from -3 to +4.

    Returns:
        (height, width) in pixels, ascending.

    Raises:
        InputError: If a side is not a multiple of a block.

    Source: rfdetr 1.11.2, datasets.coco.compute_multi_scale_scales, whose
        sizes are square (Apache-2.0).
    """
    height, width = (img_size,) * 2 if isinstance(img_size, int) else img_size
    block = patch_size * num_windows
    check_divisible('img_size', (height, width), patch_size, num_windows)
    short = min(height, width)
    offsets = range(-5, 6) if expanded else range(-3, 5)
    counts = [short // block + offset for offset in offsets]
    return [
        tuple(
            max(1, round(side * count * block / short / block)) * block
            for side in (height, width)
        )
        for count in counts
        if count >= MIN_BLOCKS
    ]
