"""Errors that a user can cure, apart from those of a program."""

import contextlib
import errno
from collections.abc import Iterator


class InputError(ValueError):
    """A file, folder or option that the user gave cannot be used.

    Its message is written for the user: it says what is wrong with which
    file or option and what to do. The tools print it without a traceback,
    so nothing else may raise it.

    Attributes:
        details: More about it, lines that ``-v`` shows.
    """

    details: str | None = None


@contextlib.contextmanager
def naming(file: object) -> Iterator[None]:
    """Name a file at the beginning of an error about its content.

    Args:
        file: Its path.

    Raises:
        InputError: The one that was raised within, with the path before it.
    """
    try:
        yield
    except InputError as error:
        named = InputError(f'{file}: {error}')
        named.details = error.details
        raise named from error


class UsageError(Exception):
    """Options that do not go together; the command ends with exit code 2."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch could not get memory, on a GPU or on the CPU."""
    # torch's own class is known by its name: torch is not imported here.
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, MemoryError) or 'OutOfMemoryError' in names:
        return True
    signs = ("can't allocate memory", 'CUDA out of memory', 'ALLOC_FAILED')
    return isinstance(error, RuntimeError) and any(
        sign in str(error) for sign in signs
    )


# No room, no quota left, no writing on this disk.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def is_disk_error(error: BaseException | None) -> bool:
    """Whether a disk is full or takes no files."""
    return isinstance(error, OSError) and error.errno in _DISK_ERRORS


def curable_line(
    error: BaseException, less_memory: str, verbose: bool = False
) -> str | None:
    """Say in one line what a user can do about an error.

    The one list of errors that options can cure, for the tools and the
    command line: an InputError, exhausted memory, a full or read-only disk,
    a file or a package that is missing.

    Args:
        error: The error that ended a program.
        less_memory: What makes the program take less memory.
        verbose: Whether the details of an error are lines below.

    Returns:
        The line; None if the error is the program's, which keeps its
        traceback.
    """
    line = ' '.join(str(error).split())
    if isinstance(error, InputError):
        # One from a worker of a data loader has its traceback before it.
        line = str(error).rpartition('InputError: ')[2].strip()
        more = error.details if verbose else None
        return f'{line}\n{more}' if more else line
    if is_out_of_memory(error):
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f'out of memory: {first} {less_memory}'
    if is_disk_error(error):
        return (
            f'{line}. Make room, or choose another folder for the results '
            '(--work-dir, --output-dir); a training that is resumed '
            '(--resume) goes on from its last checkpoint'
        )
    if isinstance(error, (OSError, ImportError)):
        return line
    return None
