"""The one reader and the one setter of a config's image size.

A config says the size of its images in several places: in the pipelines of
three data loaders, in the top-level ``test_pipeline`` that exports read, in
the batch augmentation of multi-scale training, in the name of a supernet's
sub-network. Everything here works on mmengine's Config and on plain data.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rfdetr_mm.errors import InputError

from .blocks import check_divisible, multi_scale_sizes, parse_resolution

RESIZE = 'RFDETRResize'
MIN_DRAFT_PX = 600  # the largest random crop of training
SPLITS = ('train', 'val', 'test')
# Wrappers whose transforms run by chance: they do not say the final size.
_RANDOM = ('RandomApply', 'RandomChoice')
# Steps behind which an image has another size than the resizing step gave.
_CHANGES_SIZE = re.compile('Crop|Resize|Expand|Pad|Mosaic')
_SUBNET_SIZE = re.compile(r'\d+x\d+(?=-)')


@dataclass(frozen=True)
class SizePlace:
    """One place in a config that says an image size.

    Attributes:
        name: The place, as an option of the command line would name it.
        size_hw: (height, width) in pixels; with ``keep_ratio`` the bounds,
            the short side first.
        keep_ratio: Whether images keep their aspect ratio within these.
    """

    name: str
    size_hw: tuple[int, int]
    keep_ratio: bool = False

    def __str__(self) -> str:
        height, width = self.size_hw
        return f'{self.name} says {height} x {width}'


def size_places(cfg: Mapping[str, Any]) -> list[SizePlace]:
    """List what a config says of the size of its images.

    What is drawn for each image or batch, such as the sizes of multi-scale
    training, the crops before the last resizing step and several views of
    test-time augmentation, says no size and is left out.

    Args:
        cfg: A config, or its entries as plain data.

    Returns:
        The places; those of the test come first.
    """
    found = []
    for split in ('test', 'val', 'train'):
        loader = cfg.get(f'{split}_dataloader')
        for where, pipeline in _pipelines(loader, f'{split}_dataloader'):
            if split == 'train' and _augments_batches(cfg):
                continue
            found += _places_in(pipeline, where)
        if split == 'test':
            for name in ('test_pipeline', 'tta_pipeline'):
                found += _places_in(cfg.get(name), name)
    model = cfg.get('model')
    for augment in _nodes(model, 'BatchMultiScaleResize'):
        place = _place_of(
            dict(scale=augment.get('img_size')),
            'model.data_preprocessor.batch_augments',
        )
        if place is not None:  # (height, width) here
            size_hw = place.size_hw[::-1]
            found.append(SizePlace(place.name, size_hw))
    subnet = model.get('subnet') if isinstance(model, Mapping) else None
    if isinstance(subnet, str) and _SUBNET_SIZE.match(subnet):
        sides = _SUBNET_SIZE.match(subnet)[0].split('x')
        found.append(SizePlace('model.subnet', tuple(map(int, sides))))
    return found


def check_sizes_agree(cfg: Mapping[str, Any]) -> None:
    """Refuse a config whose places say different image sizes.

    Args:
        cfg: A config, with all options merged.

    Raises:
        InputError: With two places, both sizes and the way out.
    """
    places = size_places(cfg)
    for place in places[1:]:
        first = next(p for p in places if p.keep_ratio == place.keep_ratio)
        if place.size_hw != first.size_hw:
            raise InputError(
                f'the config says two image sizes (height x width in px): '
                f'{first}, {place}. Set one size in all places by '
                f'resolution={_as_option(first)} or resolution='
                f'{_as_option(place)}: --cfg-options resolution=… in a tool, '
                'an argument of the same name in Python.'
            )


def _as_option(place: SizePlace) -> str:
    height, width = place.size_hw
    return str(height) if height == width else f'"({height},{width})"'


def size_of_tests(cfg: Mapping[str, Any]) -> SizePlace | None:
    """Give the size of the images that a config tests on.

    Args:
        cfg: A config, or its entries as plain data.

    Returns:
        What the test loader's pipeline says, else the top-level
        ``test_pipeline``, else the validation's; None if none of them says a
        size.
    """
    places = size_places(cfg)
    for beginning in ('test_', 'val_'):
        for place in places:
            if place.name.startswith(beginning):
                return place
    return None


def image_size(cfg: Mapping[str, Any]) -> tuple[int, int]:
    """Give the one image size of a config, for a model that is used.

    Args:
        cfg: A config.

    Returns:
        (height, width) in pixels; of a config without resizing steps the
        square of the backbone's position table.

    Raises:
        InputError: If its places disagree, or nothing says a size.
    """
    check_sizes_agree(cfg)
    place = size_of_tests(cfg)
    if place is not None:
        return place.size_hw
    for backbone in _nodes(cfg.get('model'), 'WindowedDINOv2'):
        if 'img_size' in backbone:
            return (backbone['img_size'],) * 2
    raise InputError(
        f'the config says no image size: neither has its test pipeline a '
        f'step {RESIZE}, nor its backbone an entry img_size'
    )


def largest_training_size(cfg: Mapping[str, Any]) -> tuple[int, int]:
    """Give the largest (height, width) in pixels that a config trains on.

    With ``keep_ratio``, lying and upright images may share a batch, which is
    then padded to the long side both ways.

    Args:
        cfg: A config.

    Raises:
        InputError: If the training pipeline does not resize.
    """
    for augment in _nodes(cfg.get('model'), 'BatchMultiScaleResize'):
        return tuple(_sizes_of(augment)[-1])
    sizes = []
    for _, pipeline in _pipelines(cfg.get('train_dataloader'), 'train'):
        # Models of mmdet have its own resizing steps.
        resizes = [s for s in pipeline if 'Resize' in str(s.get('type'))]
        if resizes:
            sizes += [
                _largest_of(resizes[-1], scale)
                for scale in resizes[-1].get('scales')
                or [resizes[-1]['scale']]
            ]
    if not sizes:
        raise InputError(
            'the training pipeline has no resizing step at its top level'
        )
    return max(h for h, _ in sizes), max(w for _, w in sizes)


def _largest_of(step: Mapping[str, Any], scale: Any) -> tuple[int, int]:
    height, width = _hw_of(scale)
    longest = max(height, width)
    return (longest, longest) if step.get('keep_ratio') else (height, width)


def windows_of(cfg: Mapping[str, Any]) -> tuple[int, int]:
    """Give patch size (px) and windows per side of a config's backbone.

    Args:
        cfg: A config, or its entries as plain data.

    Returns:
        Both numbers; (1, 1) for other backbones, which take every size.
    """
    for backbone in _nodes(cfg.get('model'), 'WindowedDINOv2'):
        return backbone.get('patch_size', 16), backbone.get('num_windows', 2)
    return 1, 1


def check_size_of_model(
    cfg: Mapping[str, Any], name: str, size_hw: Sequence[int]
) -> None:
    """Refuse an image size that a config's model cannot take.

    Args:
        cfg: A config.
        name: What has this size, for the message.
        size_hw: (height, width) in pixels.

    Raises:
        InputError: With the rule, its numbers and the nearest legal sizes.
    """
    check_divisible(name, size_hw, *windows_of(cfg))


def set_resolution(cfg: Any, resolution: Any) -> None:
    """Set the image size in all places of a config, in place.

    The position table follows if it has had the side of the old size and the
    new one is a square, too. Training images that are drawn in several sizes
    are drawn around the new one.

    Args:
        cfg: The config, with all other options merged.
        resolution: Side of a square, or (height, width), in pixels.

    Raises:
        InputError: If windows of patches do not fill it, or the
            config has no place for it.
    """
    size_hw = parse_resolution(resolution, *windows_of(cfg))
    old = size_of_tests(cfg)
    set_image_size(cfg, size_hw)
    for backbone in _nodes(cfg.get('model'), 'WindowedDINOv2'):
        side = backbone.get('img_size')
        followed = old is not None and old.size_hw == (side, side)
        if followed and size_hw[0] == size_hw[1]:
            backbone['img_size'] = size_hw[0]


def set_image_size(cfg: Any, size_hw: tuple[int, int]) -> None:
    """Let all pipelines of a config end at one image size, in place.

    Args:
        cfg: A detector's config.
        size_hw: (height, width) in pixels.

    Raises:
        InputError: If a pipeline has no resizing step that can be set.
    """
    model = cfg.get('model')
    old = size_of_tests(cfg)
    for augment in _nodes(model, 'BatchMultiScaleResize'):
        augment['img_size'] = _compact(size_hw)
    if isinstance(model, Mapping) and isinstance(model.get('subnet'), str):
        name = f'{size_hw[0]}x{size_hw[1]}'
        model['subnet'] = _SUBNET_SIZE.sub(name, model['subnet'])
    for split in SPLITS:
        loader = cfg.get(f'{split}_dataloader')
        pipelines = dict(_pipelines(loader, f'{split}_dataloader'))
        if cfg.get(f'{split}_pipeline'):
            pipelines[f'{split}_pipeline'] = cfg[f'{split}_pipeline']
        for name, pipeline in pipelines.items():
            if split == 'train':
                _set_training_size(cfg, name, pipeline, old, size_hw)
            else:
                set_pipeline_size(pipeline, size_hw, name)
    if cfg.get('tta_pipeline') and _places_in(cfg['tta_pipeline'], ''):
        set_pipeline_size(cfg['tta_pipeline'], size_hw, 'tta_pipeline')


def set_pipeline_size(
    pipeline: Sequence[Any],
    size_hw: tuple[int, int],
    name: str = 'pipeline',
    stretch: bool = False,
) -> None:
    """Let the last resizing step of a pipeline give one size, in place.

    Args:
        pipeline: Configs of its steps.
        size_hw: (height, width) in pixels.
        name: The name of the pipeline, for messages.
        stretch: Whether an aspect ratio that was kept is given up.

    Raises:
        InputError: If it has no resizing step of RF-DETR.
    """
    steps = _final_resizes(pipeline)
    if not steps:
        raise InputError(
            f'the image size is set in the step {RESIZE} of a pipeline, but '
            f'{name} has only {[str(s.get("type")) for s in pipeline]}'
        )
    for step in steps:
        step['scale'] = (size_hw[1], size_hw[0])
        if stretch:
            step['keep_ratio'] = False


def _set_training_size(
    cfg: Any,
    name: str,
    pipeline: Sequence[Any],
    old: SizePlace | None,
    size_hw: tuple[int, int],
) -> None:
    """Set the size of training images, which may be drawn around it."""
    largest = size_hw
    augments = list(_nodes(cfg.get('model'), 'BatchMultiScaleResize'))
    drawn = [step for step in pipeline if _draws_sizes(step)]
    if list(_nodes(cfg.get('model'), 'BatchSubnetResize')):
        return  # the largest size of the search space, whatever is validated
    if augments:
        largest = tuple(_sizes_of(augments[0])[-1])
    if drawn and not _final_resizes(pipeline):
        scales = _redrawn(cfg, name, drawn[-1], old, size_hw)
        drawn[-1]['scales'] = [(w, h) for h, w in scales]
        largest = tuple(scales[-1])
    else:
        set_pipeline_size(pipeline, largest, name)
    for step in pipeline:
        if 'draft_size' in step:
            step['draft_size'] = max(MIN_DRAFT_PX, *largest)


def _redrawn(
    cfg: Any,
    name: str,
    step: Mapping[str, Any],
    old: SizePlace | None,
    size_hw: tuple[int, int],
) -> list[tuple[int, int]]:
    """Sizes (h, w) to draw from, around a new size as around the old one."""
    drawn = [_hw_of(scale) for scale in step['scales']]
    for expanded in (True, False):
        for around in (size_hw, old and old.size_hw):
            if around and drawn == multi_scale_sizes(
                around, *windows_of(cfg), expanded
            ):
                return multi_scale_sizes(size_hw, *windows_of(cfg), expanded)
    raise InputError(
        f'resolution sets the sizes of multi-scale training around the new '
        f'size, but {name} draws from a list of its own, {drawn} (height, '
        'width): change this list in the config'
    )


def _sizes_of(augment: Mapping[str, Any]) -> list[tuple[int, int]]:
    keys = ('img_size', 'patch_size', 'num_windows', 'expanded')
    return multi_scale_sizes(
        **{key: augment[key] for key in keys if key in augment}
    )


def _compact(size_hw: tuple[int, int]) -> int | tuple[int, int]:
    return size_hw[0] if size_hw[0] == size_hw[1] else tuple(size_hw)


def _augments_batches(cfg: Mapping[str, Any]) -> bool:
    """Whether training images get their final size as a batch."""
    model = cfg.get('model')
    return any(
        next(_nodes(model, kind), None) is not None
        for kind in ('BatchMultiScaleResize', 'BatchSubnetResize')
    )


def _pipelines(node: Any, name: str) -> Iterator[tuple[str, Sequence[Any]]]:
    """Pipelines of a loader's data sets, wrapped and joined ones as well."""
    if isinstance(node, Mapping):
        if isinstance(node.get('pipeline'), (list, tuple)):
            yield f'{name}.pipeline', node['pipeline']
        for key in ('dataset', 'datasets'):
            yield from _pipelines(node.get(key), f'{name}.{key}')
    elif isinstance(node, (list, tuple)):
        for i, child in enumerate(node):
            yield from _pipelines(child, f'{name}.{i}')


def _places_in(pipeline: Any, name: str) -> list[SizePlace]:
    steps = _final_resizes(pipeline, says_size=True)
    found = [_place_of(step, name) for step in steps]
    # Views of several sizes are test-time augmentation.
    sizes = {place and place.size_hw for place in found}
    return found[:1] if len(sizes) == 1 and None not in sizes else []


def _place_of(step: Mapping[str, Any], name: str) -> SizePlace | None:
    size_hw = _hw_of(step.get('scale'))
    keep_ratio = bool(step.get('keep_ratio'))
    if not all(isinstance(side, int) for side in size_hw):
        return None
    if keep_ratio:
        size_hw = tuple(sorted(size_hw))
    return SizePlace(name, size_hw, keep_ratio)


def _hw_of(scale: Any) -> tuple[int, int]:
    """(height, width) of mmcv's scale, a side or (width, height)."""
    if isinstance(scale, (list, tuple)):
        # Only two numbers are a size.
        return (scale[1], scale[0]) if len(scale) == 2 else (None, None)
    return scale, scale


def _final_resizes(steps: Any, says_size: bool = False) -> list[Any]:
    """The last resizing steps of RF-DETR in a pipeline.

    More than one in branches, such as the views of test-time augmentation.
    With ``says_size`` none if later steps may change the size again.
    """
    found: list[Any] = []
    for step in steps if isinstance(steps, (list, tuple)) else ():
        if isinstance(step, (list, tuple)):
            # Alternatives, as the views of test-time augmentation.
            for view in step:
                found += _final_resizes([view], says_size)
            continue
        if not isinstance(step, Mapping):
            continue
        kind = str(step.get('type'))
        if kind.endswith(_RANDOM):
            continue
        if kind.endswith(RESIZE):
            found = [step]
            continue
        inner = [
            part
            for value in step.values()
            if isinstance(value, (list, tuple))
            for part in _final_resizes(value, says_size)
        ]
        if inner:
            found = inner
        elif says_size and _CHANGES_SIZE.search(kind):
            found = []
    return found


def _draws_sizes(step: Any) -> bool:
    return (
        isinstance(step, Mapping)
        and str(step.get('type')).endswith('RandomChoiceResize')
        and str(step.get('resize_type')).endswith(RESIZE)
    )


def _nodes(node: Any, kind: str) -> Iterator[Any]:
    """All configs of one type within a config."""
    if isinstance(node, Mapping):
        if str(node.get('type')).rpartition('.')[2].strip("'>") == kind:
            yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            yield from _nodes(child, kind)
