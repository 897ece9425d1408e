"""Ctrl+C ends a program with one line and exit code 130.

The line names the last checkpoint of a training and the command that goes on
from it. Nothing here imports more than the standard library, so that it works
while torch is still being imported.
"""

import contextlib
import multiprocessing
import os
import shlex
import signal
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

EXIT_CODE = 130
"""What shells give for a program that SIGINT ended."""

_CHECKPOINTS = ('epoch_*.pth', 'iter_*.pth')


class _State:
    """Of this process."""

    command: Sequence[str] = ()
    name = ''
    work_dir: Path | None = None
    started_s = 0.0
    is_resumed = False
    is_inside = False
    num_signals = 0


def install(command: Sequence[str], name: str) -> None:
    """Handle Ctrl+C from now on; in a worker process, leave it to its parent.

    Outside of :func:`unwinding`, where there is nothing to clean up, and at
    the second Ctrl+C the program ends at once.

    Args:
        command: The program and its arguments, as they can be typed again.
        name: The program's name in messages.
    """
    if multiprocessing.parent_process() is not None:
        _ignore()
        return
    _State.command, _State.name = list(command), name
    signal.signal(signal.SIGINT, _on_signal)
    if hasattr(os, 'register_at_fork'):
        os.register_at_fork(after_in_child=_ignore)


def _ignore() -> None:
    # The terminal sends Ctrl+C to workers, too; their parent ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _on_signal(number: int, frame: FrameType | None) -> None:
    _State.num_signals += 1
    if not _State.is_inside or _State.num_signals > 1:
        say_stopped()
        sys.stdout.flush()
        os._exit(EXIT_CODE)
    raise KeyboardInterrupt


def note_training(work_dir: str | os.PathLike[str], is_resumed: bool) -> None:
    """Remember where the checkpoints of the training are.

    Args:
        work_dir: The folder.
        is_resumed: Whether those that are there already belong to it.
    """
    _State.work_dir, _State.is_resumed = Path(work_dir), is_resumed
    _State.started_s = time.time()


def was_interrupted() -> bool:
    """Whether Ctrl+C was pressed, also where a library swallowed it."""
    return _State.num_signals > 0


def raise_if_interrupted() -> None:
    """Raise KeyboardInterrupt again if something has swallowed it."""
    if was_interrupted():
        raise KeyboardInterrupt


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """Let Ctrl+C be an exception within, and exit with one line behind it.

    Raises:
        SystemExit: With 130 after Ctrl+C, whatever error came of it.
    """
    _State.is_inside = True
    try:
        yield
    except KeyboardInterrupt:
        say_stopped()
        raise SystemExit(EXIT_CODE) from None
    except BaseException:
        if not was_interrupted():
            raise
        # Such as that of a data loader whose workers are gone.
        say_stopped()
        raise SystemExit(EXIT_CODE) from None
    finally:
        _State.is_inside = False


def say_stopped() -> None:
    """Print the line, in the first process of a distributed job only."""
    if os.environ.get('RANK', '0') == '0':
        print(stop_line(), file=sys.stderr, flush=True)


def stop_line() -> str:
    """What was stopped, and how to go on."""
    line = f'{_State.name or "the program"}: stopped'
    if _State.work_dir is None:
        return line
    checkpoint = last_checkpoint(_State.work_dir)
    if checkpoint is None or not (
        _State.is_resumed or checkpoint.stat().st_mtime >= _State.started_s
    ):
        return (
            f'{line} before the first checkpoint; the same command starts anew'
        )
    if int(os.environ.get('WORLD_SIZE', '1')) > 1:
        way = 'the same command with --resume'
    else:
        way = shlex.join(with_resume(_State.command))
    return f'{line}; the last checkpoint is {checkpoint}, go on by: {way}'


def last_checkpoint(work_dir: Path) -> Path | None:
    """The newest complete checkpoint of a training.

    Args:
        work_dir: Its folder.

    Returns:
        What mmengine's ``last_checkpoint`` names; else the newest one.
    """
    pointer = work_dir / 'last_checkpoint'
    if pointer.is_file():
        named = Path(pointer.read_text().strip())
        if named.is_file():
            return named
    found = [p for pattern in _CHECKPOINTS for p in work_dir.glob(pattern)]
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return next((path for path in found if zipfile.is_zipfile(path)), None)


def with_resume(command: Sequence[str]) -> list[str]:
    """A command that goes on from the last checkpoint of its folder.

    Args:
        command: The command, with or without ``--resume [CHECKPOINT]``.
    """
    kept: list[str] = []
    words = iter(command)
    for word in words:
        if word == '--resume':
            follower = next(words, '-')
            if follower.startswith('-') and follower != '-':
                kept.append(follower)
        elif not word.startswith('--resume='):
            kept.append(word)
    return [*kept, '--resume']
