"""Which size a name or the numbers of a model belong to.

Plain names and numbers are compared with the table of sizes; neither configs
are read nor models built.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rfdetr_mm_light.sizes import DETECTION, SIZES, Size, Task, find_size

__all__ = [
    'CHANGEABLE',
    'FIXED',
    'find_size',
    'size_in_file_name',
    'sizes_of_numbers',
    'task_of_head',
    'task_of_weights',
]

# The numbers that no training changes.
FIXED = ('encoder', 'patch_size', 'hidden_dim', 'dec_layers')
# What decides among the sizes that agree in the fixed numbers. Training may
# have changed them: then they decide nothing.
CHANGEABLE = ('num_windows', 'positional_encoding_size', 'num_queries')


def size_in_file_name(name: str) -> Size | None:
    """Find the size whose short name is a part of the name of a file.

    Args:
        name: Name of a file or of a training, such as
            ``rf-detr-seg-xxlarge.pt``. As rfdetr has it, ``large`` alone is
            the Large of 2026.

    Returns:
        The size with the longest name among those that are found; None if
        there is none.
    """
    name = name.lower().replace('_', '-')
    words = {
        word: size
        for size in SIZES.values()
        for word in (size.short_name, *size.aliases)
        if word in name
    }
    return words[max(words, key=len)] if words else None


def task_of_weights(keys: Iterable[str]) -> Task:
    """Find out the task of a model by the names of its weights.

    Args:
        keys: The names, those of this package.
    """
    keys = list(keys)
    for task in {size.task for size in SIZES.values()}:
        part = task.weights_part
        if part is not None and any(part in key for key in keys):
            return task
    return DETECTION


def task_of_head(head: str) -> Task:
    """Give the task of a head.

    Args:
        head: Its name in the registry.
    """
    tasks = {size.task.head: size.task for size in SIZES.values()}
    return tasks.get(head, DETECTION)


def sizes_of_numbers(
    task: Task, numbers: Mapping[str, Any], fixed: Sequence[str] = FIXED
) -> list[Size]:
    """List the sizes that a model of certain numbers may be of.

    Args:
        task: The task of the model.
        numbers: The known numbers of the model, under the names of
            :class:`~rfdetr_mm_light.sizes.Size`.
        fixed: The names of those that must agree.

    Returns:
        The sizes that agree in ``fixed``; of these the ones that agree in
        the other numbers as well, as far as there are any.
    """

    def agree(size: Size, names: Sequence[str]) -> bool:
        return all(getattr(size, n) == numbers.get(n) for n in names)

    found = [
        size
        for size in SIZES.values()
        if size.task is task and agree(size, fixed)
    ]
    for name in CHANGEABLE:
        found = [size for size in found if agree(size, [name])] or found
    return found
