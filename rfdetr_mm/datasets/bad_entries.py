"""Rules of an entry's fields, and entries that break them, counted."""

import re
from collections import defaultdict
from typing import Any, NoReturn

from rfdetr_mm.errors import InputError

_NUM_PLACES = 5
_MAX_DIGITS = 60  # Python itself writes at most 4300
_WHOLE = re.compile('[0-9]{1,19}')
_MAX_WHOLE = 2**63 - 1
_MAX_NUMBER = 1e15  # pixels, beyond all images
MISSING = object()
"""Stands for a field that is not there."""
_NUMBER = re.compile(r'\[\d+\]')


class BadEntryError(InputError):
    """An entry of an annotation file that breaks a rule.

    Args:
        path: The file.
        place: Where in the file, such as ``annotations[3].bbox``.
        rule: The rule that it breaks, as the rest of a sentence.
        found: What was found there, likewise.
        message: The message; made of the others if None.

    Attributes:
        rule: The rule with its place, but without numbers.
        example: The place, and what was found there.
    """

    def __init__(
        self,
        path: str,
        place: str,
        rule: str,
        found: str,
        message: str | None = None,
    ) -> None:
        super().__init__(message or f'{path}: {place} {rule}, but {found}.')
        self.rule = f'{_NUMBER.sub("[…]", place)} {rule}'
        self.example = f'{place} {found}'


class BadEntries:
    """What is wrong with the entries of one split, counted by rule.

    Attributes:
        counts: Rule to how many entries break it.
        examples: Rule to the first places where it is broken.
        first: The first error; None while there is none.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = defaultdict(int)
        self.examples: dict[str, list[str]] = defaultdict(list)
        self.first: InputError | None = None

    def add(
        self,
        error: InputError,
        rule: str | None = None,
        example: str | None = None,
    ) -> None:
        """Count an error.

        Args:
            error: The error.
            rule: The rule that is broken; that of a ``BadEntryError`` if
                None.
            example: The place likewise.
        """
        rule = error.rule if rule is None else rule
        example = error.example if example is None else example
        self.first = self.first or error
        self.counts[rule] += 1
        if len(self.examples[rule]) < _NUM_PLACES:
            self.examples[rule].append(example)


def to_whole_number(
    path: str, field: str, entry: dict[str, Any], key: str, unit: str = ''
) -> None:
    """Make ``entry[key]`` an int, in place; text of digits is one, too.

    Args:
        path: The file, for errors.
        field: The place of the entry, such as ``images[3]``.
        entry: The entry.
        key: The field.
        unit: Words on the unit, for errors.

    Raises:
        BadEntryError: If it is not a whole number of 64 bits.
    """
    value = entry.get(key, MISSING)
    number = value
    if isinstance(value, float) and value.is_integer():
        number = int(value)
    elif isinstance(value, str) and _WHOLE.fullmatch(value):
        number = int(value)
    if type(number) is not int:
        rule = f'must be a whole number {unit}'.rstrip()
        fail(path, f'{field}.{key}', rule, value)
    if abs(number) > _MAX_WHOLE:
        rule = f'must be a whole number of 64 bits {unit}'.rstrip()
        fail(path, f'{field}.{key}', rule, value)
    entry[key] = number


def check_text(path: str, field: str, entry: dict[str, Any], key: str) -> None:
    """Check that ``entry[key]`` is text that can name a file or a class.

    Args:
        path: The file, for errors.
        field: The place of the entry, such as ``images[3]``.
        entry: The entry.
        key: The field.

    Raises:
        BadEntryError: If it is not.
    """
    value = entry.get(key, MISSING)
    if not isinstance(value, str) or not value:
        fail(path, f'{field}.{key}', 'must be a text', value)
    # Half characters and zero bytes are in no name of a file.
    if '\0' in value or value.encode(errors='replace') != value.encode(
        errors='surrogatepass'
    ):
        rule = 'must be a text of whole characters, without zero bytes'
        fail(path, f'{field}.{key}', rule, value)


def is_finite(value: Any) -> bool:
    """Whether a value is a number of pixels that an image can have.

    Args:
        value: What a file holds.
    """
    return type(value) in (int, float) and abs(value) <= _MAX_NUMBER


def fail(path: str, field: str, rule: str, value: Any) -> NoReturn:
    """Refuse the value of a field.

    Args:
        path: The file.
        field: The place of the value, such as ``annotations[3].bbox``.
        rule: What it must be, the rest of a sentence.
        value: What the file holds; ``MISSING`` if it has no such field.

    Raises:
        BadEntryError: Always.
    """
    found = 'is missing' if value is MISSING else f'is {shown(value)}'
    raise BadEntryError(path, field, rule, found)


def shown(value: Any) -> str:
    """Write a value for a message, shortened.

    Args:
        value: What a file holds.
    """
    if isinstance(value, int) and abs(value) > 10**_MAX_DIGITS:
        return f'a number of more than {_MAX_DIGITS} digits'
    return f'{value!r:.80}'
