"""Albumentations' names and options, translated for kornia.

kornia computes on the device of the images, Albumentations on a CPU, image by
image. Where the two draw from other distributions, the notes of
:data:`TRANSFORMS` say so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from rfdetr_mm.errors import InputError

Options = dict[str, Any]
Built = tuple[str, Options]
"""Name of a class of ``kornia.augmentation``, and its arguments."""


@dataclass(frozen=True)
class Transform:
    """How a transform is translated.

    Attributes:
        build: Takes what it knows out of the options.
        moves: Whether objects change their places.
        mirrors: Whether left and right, or top and bottom, are exchanged.
        left_out: Options of Albumentations that kornia has nothing for; they
            are left out with a warning.
        note: In what the results differ from Albumentations'; '' if they
            follow the same distribution.
    """

    build: Callable[[Options], Built]
    moves: bool = False
    mirrors: bool = False
    left_out: tuple[str, ...] = ()
    note: str = ''


def _flip(direction: str) -> Callable[[Options], Built]:
    return lambda options: (f'Random{direction}Flip', {})


def _rotate(options: Options) -> Built:
    limit = _around_zero(options.pop('limit', 15))
    return 'RandomRotation', dict(degrees=limit)


def _affine(options: Options) -> Built:
    shift = options.pop('translate_percent', None)
    scale = options.pop('scale', None)
    return 'RandomAffine', dict(
        degrees=_around_zero(options.pop('rotate', 15)),
        translate=None if shift is None else (_largest(shift),) * 2,
        scale=None if scale is None else _range(scale),
        shear=options.pop('shear', None),
    )


def _shift_scale_rotate(options: Options) -> Built:
    both = options.pop('shift_limit', 0.0625)
    shifts = [options.pop(f'shift_limit_{axis}', None) for axis in 'xy']
    low, high = _around_zero(options.pop('scale_limit', 0.1))
    return 'RandomAffine', dict(
        degrees=_around_zero(options.pop('rotate_limit', 45)),
        translate=tuple(_largest(both if s is None else s) for s in shifts),
        scale=(1 + low, 1 + high),
    )


def _perspective(options: Options) -> Built:
    if options.pop('keep_size', True) is not True:
        raise InputError(
            'Perspective(keep_size=False) would change the size of single '
            'images, and all images of a batch have one: leave keep_size out'
        )
    scale = options.pop('scale', (0.05, 0.1))
    return 'RandomPerspective', dict(distortion_scale=_range(scale)[1])


def _color_jitter(options: Options) -> Built:
    names = ('brightness', 'contrast', 'saturation', 'hue')
    return 'ColorJiggle', {name: options.pop(name, 0.0) for name in names}


def _brightness_contrast(options: Options) -> Built:
    return 'ColorJiggle', {
        name: options.pop(f'{name}_limit', 0.2)
        for name in ('brightness', 'contrast')
    }


def _gaussian_blur(options: Options) -> Built:
    options.setdefault('blur_limit', 3)
    # The older name is the one that rfdetr has.
    sigma = options.pop('sigma', (0.5, 3.0))
    sigma = options.pop('sigma_limit', sigma)
    return 'RandomGaussianBlur', dict(
        kernel_size=_kernel(options), sigma=_range(sigma)
    )


def _gauss_noise(options: Options) -> Built:
    std = _range(options.pop('std_range', (0.2, 0.44)))
    return 'RandomGaussianNoise', dict(std=std[1])


def _blur(options: Options) -> Built:
    return 'RandomBoxBlur', dict(kernel_size=_kernel(options))


def _sharpen(options: Options) -> Built:
    low, high = _range(options.pop('alpha', (0.2, 0.5)))
    # Without effect at 1, as alpha is at 0
    return 'RandomSharpness', dict(sharpness=(1 + low, 1 + high))


def _clahe(options: Options) -> Built:
    limit = options.pop('clip_limit', 4.0)
    grid = options.pop('tile_grid_size', (8, 8))
    return 'RandomClahe', dict(
        # A number is the upper end of a range that begins at 1
        clip_limit=_range(limit if _is_pair(limit) else (1.0, limit)),
        grid_size=tuple(map(int, grid)),
    )


_EDGES = (
    'interpolation',
    'mask_interpolation',
    'border_mode',
    'fill',
    'fill_mask',
)

TRANSFORMS: dict[str, Transform] = {
    'HorizontalFlip': Transform(_flip('Horizontal'), moves=True, mirrors=True),
    'VerticalFlip': Transform(_flip('Vertical'), moves=True, mirrors=True),
    'Rotate': Transform(_rotate, moves=True, left_out=_EDGES),
    'Affine': Transform(
        _affine,
        moves=True,
        left_out=_EDGES,
        note='shifts are drawn from both directions alike',
    ),
    'ShiftScaleRotate': Transform(
        _shift_scale_rotate,
        moves=True,
        left_out=(*_EDGES, 'rotate_method'),
        note='shifts are drawn from both directions alike',
    ),
    'Perspective': Transform(
        _perspective,
        moves=True,
        left_out=(*_EDGES, 'fit_output'),
        note='corners move by a uniform draw up to the end of scale, not by a '
        'normal one',
    ),
    'ColorJitter': Transform(_color_jitter),
    'RandomBrightnessContrast': Transform(
        _brightness_contrast,
        left_out=('brightness_by_max', 'ensure_safe_range'),
        note='brightness is multiplied, not added',
    ),
    'ToGray': Transform(
        lambda options: ('RandomGrayscale', {}),
        left_out=('method', 'num_output_channels'),
    ),
    'GaussianBlur': Transform(
        _gaussian_blur, note='the kernel is always the largest one'
    ),
    'Blur': Transform(_blur, note='the kernel is always the largest one'),
    'GaussNoise': Transform(
        _gauss_noise,
        left_out=('mean_range', 'per_channel', 'noise_scale_factor'),
        note='the strength is always the largest one',
    ),
    'Sharpen': Transform(
        _sharpen,
        left_out=('lightness', 'method', 'kernel_size', 'sigma'),
    ),
    'Equalize': Transform(
        lambda options: ('RandomEqualize', {}),
        left_out=('mode', 'by_channels', 'mask', 'mask_params'),
    ),
    'CLAHE': Transform(_clahe),
}
"""Name of a transform to its translation.

Source: rfdetr 1.11.2, datasets/kornia_transforms.py (names and meanings).
"""


def known(name: str) -> Transform:
    """Look a transform up.

    Raises:
        InputError: If kornia has nothing that does the same.
    """
    try:
        return TRANSFORMS[name]
    except KeyError:
        raise InputError(
            f'{name!r} is not among the transforms that run on the device: '
            f'{", ".join(TRANSFORMS)}. Others can stand in the train '
            "pipeline, as mmdet's Albu"
        ) from None


def arguments_of(
    name: str, options: Mapping[str, Any]
) -> tuple[str, Options, list[str]]:
    """Translate a transform.

    Args:
        name: A key of :data:`TRANSFORMS`.
        options: Its arguments, as for Albumentations.

    Returns:
        The class of ``kornia.augmentation``, its arguments, and the options
        that are left out.

    Raises:
        InputError: If the transform, an option or a value is not known.
    """
    transform, rest = known(name), dict(options)
    left_out = [key for key in transform.left_out if key in rest]
    for key in left_out:
        del rest[key]
    p = rest.pop('p', 0.5)
    if not _is_number(p) or not 0 <= p <= 1:
        raise InputError(f'{name}: p is a probability from 0 to 1, got {p!r}')
    try:
        kind, arguments = transform.build(rest)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(
            f'{name} cannot be made of {dict(options)}: {error}'
        ) from error
    if rest:
        raise InputError(
            f'{name} does not know {", ".join(map(repr, rest))} on the device '
            f'of the images; got {dict(options)}'
        )
    return kind, dict(arguments, p=p), left_out


def build(kind: str, arguments: Options) -> nn.Module:
    """Make a transform of kornia.

    Args:
        kind: Name of a class of ``kornia.augmentation``.
        arguments: Its arguments.

    Raises:
        InputError: If kornia is not installed, or refuses the arguments.
    """
    try:
        import kornia.augmentation
    except ImportError as error:
        raise InputError(
            f'augmentations on the device need kornia ({error}): pip install '
            "'rfdetr_mm[augment]', or keep them in the train pipeline"
        ) from error
    try:
        return getattr(kornia.augmentation, kind)(**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f'kornia refuses {kind}({arguments}): {error}'
        ) from error


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _range(value: Any) -> tuple[float, float]:
    """A pair, or a number as both ends."""
    if _is_number(value):
        value = (value, value)
    is_pair = _is_pair(value) and len(value) == 2
    if not is_pair or not all(map(_is_number, value)):
        raise ValueError(f'a number or a pair of numbers is wanted: {value!r}')
    low, high = map(float, value)
    if low > high:
        raise ValueError(f'the lower end is above the upper one: {value!r}')
    return low, high


def _around_zero(value: Any) -> tuple[float, float]:
    """A pair, or a number in both directions."""
    return _range((-value, value) if _is_number(value) else value)


def _largest(value: Any) -> float:
    return max(map(abs, _range(value)))


def _kernel(options: Options) -> tuple[int, int]:
    """The largest odd kernel; kornia does not draw it."""
    largest = int(_range(options.pop('blur_limit', (3, 7)))[1])
    return (max(largest | 1, 3),) * 2
