"""Loading images, with a word on those that are not what they should be."""

import io
import logging
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import TRANSFORMS
from mmengine import fileio
from mmengine.logging import print_log

from rfdetr_mm.errors import InputError
from rfdetr_runtime.image_file import (
    BrokenImageError,
    ImageFileError,
    exif_orientation,
    open_picture,
    rgb_pixels,
    turn,
    turned_size,
)

IGNORES, TURNS = 'color_ignore_orientation', 'color'
COLOR_TYPES = (IGNORES, TURNS)
"""mmcv's names for pixels as stored, and turned by their EXIF orientation."""

_MAX_IN_A_ROW = 200
_STOCK_LOADERS = (
    'LoadImageFromFile',
    'mmcv.LoadImageFromFile',
    'mmdet.LoadImageFromFile',
    LoadImageFromFile,
)
_END_OF_JPEG = b'\xff\xd9'
# 1 / key of the height and width, by leaving out frequencies of the blocks.
_READ_REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    1: cv2.IMREAD_COLOR,
}


@TRANSFORMS.register_module()
class LoadCheckedImage(LoadImageFromFile):
    """``LoadImageFromFile`` that names the file when something is wrong.

    A picture whose size is not the one in the annotation file is always an
    error, because its boxes are then at the wrong places. With the backend
    ``'pillow'`` every picture is what Pillow's ``convert('RGB')`` makes of it,
    as upstream has it: as it is stored with
    ``color_type='color_ignore_orientation'``, and turned by its EXIF
    orientation with ``'color'``.

    Args:
        skip_unreadable: Whether to skip files that are missing or cannot be
            decoded, with one warning per file and process, so that the data
            set draws another image. For training only: skipped in an
            evaluation, they would change the numbers. mmcv's ``ignore_empty``
            means the same.
        draft_size: Pixels that both sides should keep. Large JPEG files are
            then decoded at 1/2, 1/4 or 1/8 of their height and width, which
            skips most of the work, and boxes and polygons are scaled along:
            to the rest of the pipeline the picture is a smaller one. All
            other JPEG files are decoded by OpenCV, in a third of Pillow's
            time to the same pixels. It should be at least the largest scale
            of the pipeline. For training only, and with
            ``color_type='color_ignore_orientation'``. Pictures with RLE
            masks are decoded in full.
        **kwargs: Arguments as for ``LoadImageFromFile``.

    Raises:
        InputError: If ``draft_size`` is not positive, or given with another
            colour type.

    Source: rfdetr 1.11.2, datasets.io_utils.decode_pil_image and
        datasets.coco.scale_coco_annotation (Apache-2.0), for the sizes.
    """

    def __init__(
        self,
        *,
        skip_unreadable: bool = False,
        draft_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if draft_size is not None:
            _check_draft(draft_size, self.color_type)
        self.draft_size = draft_size
        self.skip_unreadable = skip_unreadable or self.ignore_empty
        self.ignore_empty = False
        self._skipped: set[str] = set()
        self._num_in_a_row = 0

    def transform(self, results: dict) -> dict | None:
        """Load ``results['img_path']``.

        Args:
            results: The pipeline's dict with ``img_path``; if there are
                ``height`` and ``width`` in pixels, the picture must have them.

        Returns:
            The results with ``img`` (h, w, channels), ``img_shape`` and
            ``ori_shape``, or None for a skipped image.

        Raises:
            InputError: If the file cannot be read and is not to be skipped,
                if 200 files in a row could not be read, or if the size is
                another one.
        """
        try:
            full_size = self._load(results)
        except BrokenImageError as error:
            return self._skip(results, error)
        except ImageFileError as error:
            raise InputError(str(error)) from error
        except Exception as error:  # decoders raise all kinds
            return self._skip(results, error)
        self._num_in_a_row = 0
        check_size(results, full_size)
        if full_size != results['img_shape']:
            _scale_annotations(results, full_size)
        return results

    def _load(self, results: dict) -> tuple[int, int]:
        """Load the picture; give its (height, width) in the file."""
        is_ours = (
            self.imdecode_backend == 'pillow'
            and self.color_type in COLOR_TYPES
        )
        path = results['img_path']
        data = fileio.get(path, backend_args=self.backend_args)
        if self.draft_size is None and not is_ours:
            _check_limit(data, path)
            super().transform(results)
            return results['img_shape']
        with open_picture(io.BytesIO(data), path) as picture:
            orientation = 1
            if self.color_type == TURNS:
                orientation = exif_orientation(picture)
            full_size = turned_size(picture.size[::-1], orientation)
            img = None
            if self.draft_size is not None and picture.mode in ('RGB', 'L'):
                img = self._read_jpeg(data, full_size, results)
            if img is None and is_ours:
                # mmcv would put grey pictures with alpha on a canvas.
                img = turn(rgb_pixels(picture, path), orientation)[..., ::-1]
        if img is None:
            super().transform(results)
            return full_size
        if self.to_float32:
            img = img.astype(np.float32)
        shape = img.shape[:2]
        results.update(img=img, img_shape=shape, ori_shape=shape)
        return full_size

    def _read_jpeg(
        self, data: bytes, full_size: tuple[int, int], results: dict
    ) -> np.ndarray | None:
        """Decode a JPEG file at a fraction; None if it is none, or cut."""
        # Pillow complains of cut files, OpenCV does not.
        if not data.endswith(_END_OF_JPEG):
            return None
        factor = 1
        if not _has_rle(results.get('instances', ())):
            factor = _draft_factor(*full_size, self.draft_size)
        return cv2.imdecode(
            np.frombuffer(data, np.uint8),
            _READ_REDUCED[factor] | cv2.IMREAD_IGNORE_ORIENTATION,
        )

    def _skip(self, results: dict, error: Exception) -> None:
        path = results['img_path']
        is_listed = 'img_id' in results  # in an annotation file
        number = f' (id {results["img_id"]})' if is_listed else ''
        reason = getattr(error, 'reason', f'{type(error).__name__}: {error}')
        problem = f'The image {path}{number} cannot be read: {reason}.'
        if not self.skip_unreadable:
            way_out = ', or remove the image from the annotation file'
            raise InputError(
                f'{problem} Replace the file{way_out if is_listed else ""}.'
            ) from error
        self._num_in_a_row += 1
        if self._num_in_a_row >= _MAX_IN_A_ROW:
            raise InputError(
                f'{self._num_in_a_row} images in a row cannot be read. The '
                f'last one: {problem}'
            ) from error
        if path not in self._skipped:
            self._skipped.add(path)
            print_log(
                f'{problem} It is skipped ({len(self._skipped)} skipped so '
                'far by this process).',
                logger='current',
                level=logging.WARNING,
            )

    def __repr__(self) -> str:
        """Show the arguments."""
        return (
            f'{super().__repr__()[:-1]}, '
            f'skip_unreadable={self.skip_unreadable}, '
            f'draft_size={self.draft_size})'
        )


def checked_loader(transform: Any) -> Any:
    """Take mmcv's loader for :class:`LoadCheckedImage`.

    Args:
        transform: A transform of a pipeline, or its config.

    Returns:
        The config of the checking loader with the same options, or what was
        given if it is another transform.
    """
    if isinstance(transform, dict) and transform.get('type') in _STOCK_LOADERS:
        return dict(transform, type=LoadCheckedImage)
    return transform


def _check_limit(data: bytes, path: str) -> None:
    """Refuse what Pillow finds too large: other decoders have no limit."""
    try:
        with open_picture(io.BytesIO(data), path):
            return
    except BrokenImageError:  # others may know the format
        return


def _check_draft(draft_size: int, color_type: str) -> None:
    if draft_size < 1:
        raise InputError(
            f'draft_size is a number of pixels, at least 1, not {draft_size}'
        )
    if color_type != IGNORES:
        raise InputError(
            f'draft_size={draft_size} decodes without the EXIF orientation, '
            f'but color_type={color_type!r} was given: set '
            "color_type='color_ignore_orientation' or draft_size=None"
        )


def _draft_factor(height: int, width: int, draft_size: int) -> int:
    """Greatest of 1, 2, 4 and 8 that leaves both sides long enough."""
    times = min(height, width) // draft_size
    return max(factor for factor in _READ_REDUCED if factor <= max(times, 1))


def _has_rle(instances: Sequence[dict]) -> bool:
    return any(isinstance(inst.get('mask'), dict) for inst in instances)


def _scale_annotations(results: dict, full_size: tuple[int, int]) -> None:
    """Make boxes, polygons and sizes those of the picture as decoded."""
    height, width = results['img_shape']
    scale = np.array([width / full_size[1], height / full_size[0]])
    results.update(height=height, width=width)
    if 'instances' not in results:
        return
    scaled = []
    for instance in results['instances']:
        instance = dict(instance)
        for name in ('bbox', 'mask'):
            if instance.get(name):
                instance[name] = _scale_points(instance[name], scale)
        scaled.append(instance)
    results['instances'] = scaled


def _scale_points(points: Sequence, scale: np.ndarray) -> list:
    """Scale x, y, x, y, ... or lists of such."""
    if isinstance(points[0], (list, tuple, np.ndarray)):
        return [_scale_points(part, scale) for part in points]
    return (np.reshape(points, (-1, 2)) * scale).ravel().tolist()


def check_size(results: dict, found: tuple[int, int]) -> None:
    """Refuse a picture whose size is not that of its annotations.

    Args:
        results: The pipeline's dict with ``img_path``, and ``height`` and
            ``width`` in pixels, where the annotation file tells them;
            ``img_id`` names it.
        found: (height, width) of the picture in pixels.

    Raises:
        InputError: With both sizes.
    """
    height, width = results.get('height'), results.get('width')
    if None in (height, width) or found == (height, width):
        return
    hint = ''
    if found == (width, height):
        hint = (
            ' They are swapped, by the EXIF orientation of the picture. If '
            'the annotations are of the turned picture, '
            "apply_orientation=True turns all pictures (color_type='color' "
            'of this loader); if that is on already, leave it out.'
        )
    raise InputError(
        f'The image {results["img_path"]} (id '
        f'{results.get("img_id", "unknown")}) has {found[0]} x {found[1]} '
        f'pixels (height x width), its annotation file says {height} x '
        f'{width}, so its boxes are of another picture.{hint}'
    )
