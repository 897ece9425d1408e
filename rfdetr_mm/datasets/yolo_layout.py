"""Where names, images and labels lie in the YOLO layout."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rfdetr_mm.errors import InputError
from rfdetr_runtime.image_file import IMAGE_SUFFIXES, find_image_files

from .keypoint_reader import checked_mirror

# The first that is there is taken, as by rfdetr.
YAML_NAMES = ('data.yaml', 'data.yml')
_FOLDERS = dict(train='train', val='valid', test='test')


@dataclass(frozen=True)
class YoloLayout:
    """A YAML file of the YOLO layout.

    Args:
        path: The file.
        names: Names of the classes.
        labels: Number of a class in the label files to its position in
            ``names``.
        content: Everything in the file.
    """

    path: str
    names: tuple[str, ...]
    labels: dict[int, int]
    content: dict[str, Any]

    @property
    def base(self) -> Path:
        """The folder that the splits count from: ``path``, if it is there."""
        root = Path(self.path).parent
        base = root / str(self.content.get('path') or '')
        return base if _is_there(base) and base.is_dir() else root

    @property
    def num_keypoint_values(self) -> int:
        """Numbers of a label line that belong to keypoints, behind the box.

        Raises:
            InputError: If ``kpt_shape`` is impossible.
        """
        count, dim = self.keypoint_shape
        return count * dim

    @property
    def keypoint_shape(self) -> tuple[int, int]:
        """Keypoints of an object, and numbers of each; zeros without any.

        Raises:
            InputError: If ``kpt_shape`` is not two whole numbers, of which
                the second is 2 or 3.
        """
        shape = self.content.get('kpt_shape')
        if shape is None:
            return 0, 0
        if not (
            isinstance(shape, list)
            and len(shape) == 2
            and all(type(number) is int and number > 0 for number in shape)
            and shape[1] in (2, 3)
        ):
            raise InputError(
                f'{self.path}: kpt_shape must be [keypoints, 2 or 3], got '
                f'{shape!r}'
            )
        return tuple(shape)

    @property
    def keypoint_mirror(self) -> list[int] | None:
        """``flip_idx``: which keypoint each one becomes in a mirror.

        Raises:
            InputError: If it does not exchange the keypoints in pairs.
        """
        mirror = self.content.get('flip_idx')
        if mirror is None:
            return None
        return checked_mirror(
            mirror if isinstance(mirror, list) else [mirror],
            self.keypoint_shape[0],
            f'{self.path}: flip_idx',
        )

    @property
    def keypoint_names(self) -> tuple[str, ...]:
        """``kpt_names`` of the keypoints, or their numbers.

        It is a list, or a mapping of classes to lists, of which the first
        counts.

        Raises:
            InputError: If there is another number of names.
        """
        count, _ = self.keypoint_shape
        names = self.content.get('kpt_names')
        if isinstance(names, dict) and names:
            names = next(iter(names.values()))
        if names is None:
            return tuple(map(str, range(count)))
        if not isinstance(names, list) or len(names) != count:
            raise InputError(
                f'{self.path}: kpt_names must name the {count} keypoints of '
                f'kpt_shape, got {names!r:.80}'
            )
        return tuple(map(str, names))

    def has_split(self, split: str) -> bool:
        """Whether the folder or list of a split is there.

        Args:
            split: 'train', 'val' or 'test'.
        """
        return bool(self._sources(split)[0])

    def find_images(self, split: str) -> list[Path]:
        """List the images of a split.

        Args:
            split: 'train', 'val' or 'test'.

        Returns:
            Paths, sorted.

        Raises:
            InputError: If there is no folder or list of them, or no image.
        """
        sources, tried = self._sources(split)
        if not sources:
            raise InputError(
                f'{self.path}: the images of the split {split!r} are not '
                f'there; looked for {", ".join(map(str, tried))}. Correct '
                f'{split} (or path) in that file'
            )
        images = sorted({image for s in sources for image in _images_of(s)})
        if not images:
            raise InputError(
                f'{self.path}: no images of the split {split!r} (files with '
                f'{" ".join(IMAGE_SUFFIXES)}) in '
                f'{", ".join(str(s) for s in sources)}'
            )
        return images

    def label_path(self, image: Path) -> Path:
        """Find the label file of an image.

        Below the folder of the YAML file (or ``path``) the last folder named
        ``images`` becomes ``labels``; without one the labels lie beside the
        image. Folders above do not count, whatever their names, also where a
        list gives absolute paths, or a link leads to the data set.

        Args:
            image: Path of an image as :meth:`find_images` gives it.

        Returns:
            The path; the file may be missing.
        """
        folders = (Path(self.path).parent, self.base)
        above = _folder_above(image, folders)
        if above is None:
            resolved = _resolved(image.parent.absolute()) / image.name
            above = _folder_above(
                resolved, [_resolved(f.absolute()) for f in folders]
            )
            image = image if above is None else resolved
        inner = image if above is None else image.relative_to(above)
        parts = list(inner.parts)
        for i in range(len(parts) - 2, -1, -1):
            if parts[i] == 'images':
                parts[i] = 'labels'
                break
        return Path(above or '', *parts).with_suffix('.txt')

    def _sources(self, split: str) -> tuple[list[Path], list[Path]]:
        """Folders and lists of a split's images, and where was looked."""
        base = self.base
        given = self._given(split)
        if not given:
            tried = [
                base / _FOLDERS.get(split, split) / 'images',
                base / 'images' / split,
            ]
            return [c for c in tried if c.is_dir()][:1], tried
        # Roboflow writes ../train/images where train/images is meant.
        pairs = [
            (base / source, base / source.removeprefix('../'))
            for source in given
        ]
        found = [[c for c in pair if _is_there(c)][:1] for pair in pairs]
        tried = list(dict.fromkeys(c for pair in pairs for c in pair))
        is_there = all(found)
        return [c for pair in found for c in pair] if is_there else [], tried

    def _given(self, split: str) -> list[str]:
        """What the file says of a split; an empty text says nothing."""
        names = ('val', 'valid') if split == 'val' else (split,)
        for name in names:
            given = self.content.get(name)
            given = given if isinstance(given, list) else [given]
            given = [str(g).strip() for g in given if g is not None]
            if given := [g for g in given if g]:
                return given
        return []


def read_yolo_yaml(path: str) -> YoloLayout:
    """Read a YAML file of the YOLO layout.

    Args:
        path: The file.

    Returns:
        Names, numbers of the classes, and everything in the file.

    Raises:
        InputError: If the file cannot be read or has no usable names.
    """
    content = _load_yaml(Path(path))
    names = content.get('names') if isinstance(content, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise InputError(
            f'{path} has no class names: it needs names, a list or a mapping '
            f'of the numbers in the label files, got {names!r}'
        )
    by_number = {}
    for key, name in names.items():
        number = str(key)
        if not (number.isascii() and number.isdecimal()):
            raise InputError(
                f'{path}: the keys of names must be the whole numbers that '
                f'the label files use, got {key!r}'
            )
        if by_number.setdefault(int(number), str(name)) != str(name):
            raise InputError(f'{path}: names has the number {number} twice')
    numbers = sorted(by_number)
    texts = tuple(by_number[number] for number in numbers)
    if len(set(texts)) < len(texts):
        raise InputError(f'{path}: a class name is given twice: {texts}')
    labels = {number: label for label, number in enumerate(numbers)}
    return YoloLayout(path, texts, labels, content)


def find_yolo_yamls(root: str) -> list[str]:
    """List the files of a folder that may describe it as a YOLO data set.

    Args:
        root: The folder.

    Returns:
        Names of files: ``data.yaml`` or ``data.yml``, whichever is there
        first, or without them all other YAML files that have ``names``.
    """
    folder = Path(root)
    for name in YAML_NAMES:
        if (folder / name).is_file():
            return [name]
    if not folder.is_dir():
        return []
    return [
        path.name
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in ('.yaml', '.yml') and _has_names(path)
    ]


def _has_names(path: Path) -> bool:
    """Whether a YAML file could be the one of a data set."""
    if not path.is_file():
        return False
    try:
        content = _load_yaml(path)
    except InputError:
        return False
    names = content.get('names') if isinstance(content, dict) else None
    return bool(names) and isinstance(names, (list, dict))


def _load_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding='utf-8-sig'))
    except MemoryError:
        raise
    except Exception as error:
        # PyYAML lets errors of all kinds through: of dates that do not exist,
        # numbers of many digits, deep nesting, tags on other values.
        raise InputError(
            f'{path} cannot be read as YAML: {str(error):.300}'
        ) from error


def _folder_above(image: Path, folders: Iterable[Path]) -> Path | None:
    return next((f for f in folders if image.is_relative_to(f)), None)


@functools.lru_cache(maxsize=64)
def _resolved(folder: Path) -> Path:
    """A folder as an absolute path without links."""
    return folder.resolve()


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no disk takes
        return False


def _images_of(source: Path) -> list[Path]:
    """Images below a folder, or those that a text file lists."""
    if source.is_dir():
        if source.resolve() == Path(source.resolve().anchor):
            raise InputError(
                f'The folder of the images is {source}, which is the whole '
                'disk. Name the folder that holds the images.'
            )
        return find_image_files(source, recursive=True)[0]
    lines = read_lines(source)
    return [source.parent / line.strip() for line in lines if line.strip()]


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file.

    Args:
        path: The file, in UTF-8.

    Returns:
        The lines.

    Raises:
        InputError: If the file cannot be read as text.
    """
    try:
        return path.read_text(encoding='utf-8-sig').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f'{path} cannot be read as text in UTF-8: {error}'
        ) from error
