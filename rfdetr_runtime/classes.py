"""Classes by the names that a user gives."""

import difflib
from collections.abc import Sequence

from rfdetr_mm_light.errors import InputError


def class_ids(
    wanted: Sequence[str] | None, class_names: Sequence[str]
) -> list[int] | None:
    """Labels of classes.

    Args:
        wanted: Names; None for all classes.
        class_names: The model's.

    Returns:
        The label of each name, or None.

    Raises:
        InputError: If the model has no such class; the message names the
            nearest one.
    """
    if wanted is None:
        return None
    for name in wanted:
        if name not in class_names:
            close = difflib.get_close_matches(name, class_names, 1)
            hint = f' Did you mean {close[0]!r}?' if close else ''
            known = ', '.join(class_names[:10])
            raise InputError(
                f'the model has no class {name!r}.{hint} It has '
                f'{len(class_names)}: {known}'
                + ('…' if len(class_names) > 10 else '')
            )
    return [class_names.index(name) for name in wanted]
