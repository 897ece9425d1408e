"""Loading images, with a word on those that are not what they should be."""

import logging
from typing import Any

from mmcv.transforms import LoadImageFromFile
from mmdet.registry import TRANSFORMS
from mmengine.logging import print_log

from rfdetr_mm.errors import InputError

_MAX_IN_A_ROW = 200


@TRANSFORMS.register_module()
class LoadCheckedImage(LoadImageFromFile):
    """``LoadImageFromFile`` that names the file when something is wrong.

    A picture whose size is not the one in the annotation file is always an
    error, because its boxes are then at the wrong places.

    Args:
        skip_unreadable: Whether to skip files that are missing or cannot be
            decoded, with one warning per file and process, so that the data
            set draws another image. For training only: skipped in an
            evaluation, they would change the numbers. mmcv's ``ignore_empty``
            means the same.
        **kwargs: As for ``LoadImageFromFile``.
    """

    def __init__(
        self, *, skip_unreadable: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.skip_unreadable = skip_unreadable or self.ignore_empty
        self.ignore_empty = False
        self._skipped: set[str] = set()
        self._num_in_a_row = 0

    def transform(self, results: dict) -> dict | None:
        """Load ``results['img_path']``.

        Args:
            results: With ``img_path``; if there are ``height`` and ``width``
                in pixels, the picture must have them.

        Returns:
            The results with ``img`` (h, w, channels), ``img_shape`` and
            ``ori_shape``, or None for a skipped image.

        Raises:
            InputError: If the file cannot be read and is not to be skipped,
                if 200 files in a row could not be read, or if the size is
                another one.
        """
        try:
            super().transform(results)
        except Exception as error:  # decoders raise all kinds
            return self._skip(results, error)
        self._num_in_a_row = 0
        _check_size(results)
        return results

    def _skip(self, results: dict, error: Exception) -> None:
        path = results['img_path']
        problem = (
            f'The image {path} (id {results.get("img_id", "unknown")}) cannot '
            f'be read: {type(error).__name__}: {error}.'
        )
        if not self.skip_unreadable:
            raise InputError(
                f'{problem} Replace the file, or remove the image from the '
                'annotation file.'
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
            f'skip_unreadable={self.skip_unreadable})'
        )


def _check_size(results: dict) -> None:
    found = tuple(results['img'].shape[:2])
    height, width = results.get('height'), results.get('width')
    if None in (height, width) or found == (height, width):
        return
    hint = ''
    if found == (width, height):
        hint = (
            ' They are swapped: the annotations were probably made on the '
            'picture as its EXIF orientation turns it. Save the pictures '
            "turned, or load them with color_type='color'."
        )
    raise InputError(
        f'The image {results["img_path"]} (id '
        f'{results.get("img_id", "unknown")}) has {found[0]} x {found[1]} '
        f'pixels (height x width), its annotation file says {height} x '
        f'{width}, so its boxes are of another picture.{hint}'
    )
