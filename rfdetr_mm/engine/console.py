"""What a run prints on the terminal; its log file has everything."""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from mmengine.logging import MMLogger
from mmengine.runner import Runner

QUIET = 'quiet'
"""Warnings, and a line of progress."""
SHORT = 'short'
"""mmengine's log without the config and the table of hooks."""
FULL = 'full'
"""mmengine's log."""

_LONG = ('Config:\n', 'Hooks will be executed in the following order')
# Warnings of mmengine about itself.
_NOISE = (
    'Failed to search registry with scope',
    '"HardDiskBackend" is the alias',
    '"FileClient" will be deprecated',
)
_mode: ContextVar[str] = ContextVar('console', default=SHORT)


def console_mode() -> str:
    """What runs that are built now print."""
    return _mode.get()


@contextlib.contextmanager
def console(mode: str) -> Iterator[None]:
    """Choose what the runs that are built within print.

    In ``QUIET`` nothing is written to standard output, and only warnings of
    this package are shown, each in a line.

    Args:
        mode: ``QUIET``, ``SHORT`` or ``FULL``.
    """
    token = _mode.set(mode)
    try:
        with contextlib.ExitStack() as stack:
            if mode == QUIET:
                _silence(stack)
            yield
    finally:
        _mode.reset(token)


def _silence(stack: contextlib.ExitStack) -> None:
    stack.enter_context(warnings.catch_warnings())
    warnings.simplefilter('ignore')
    warnings.filterwarnings('default', module=r'rfdetr_mm|__main__')
    warnings.showwarning = _show_warning
    # Libraries print there: pycocotools, mmengine without a logger.
    silent = stack.enter_context(open(os.devnull, 'w'))
    stack.enter_context(contextlib.redirect_stdout(silent))
    # What is logged before a run has its own logger.
    stack.enter_context(_filtered(MMLogger.get_current_instance(), QUIET))


def _show_warning(message: Any, *args: Any) -> None:
    print(f'warning: {message}', file=sys.stderr)


@contextlib.contextmanager
def _filtered(logger: logging.Logger, mode: str) -> Iterator[None]:
    shown = _Shown(mode)
    handlers = _handlers_of_terminal(logger)
    for handler in handlers:
        handler.addFilter(shown)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(shown)


def _handlers_of_terminal(
    logger: logging.Logger,
) -> list[logging.StreamHandler]:
    return [
        handler
        for handler in logger.handlers
        if isinstance(handler, logging.StreamHandler)
        and not isinstance(handler, logging.FileHandler)
    ]


class _Shown(logging.Filter):
    """What of a log the terminal shows."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def filter(self, record: logging.LogRecord) -> bool:
        if self.mode == FULL:
            return True
        text = str(record.msg)
        if record.levelno >= logging.WARNING:
            return not text.startswith(_NOISE)
        return self.mode == SHORT and not text.startswith(_LONG)


class _OwnConsole:
    """A Runner whose terminal shows what the mode says."""

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        mode = console_mode()
        for handler in _handlers_of_terminal(logger):
            handler.addFilter(_Shown(mode))
            if mode == QUIET:
                handler.setStream(sys.stderr)
        return logger


def with_console(runner_class: type[Runner]) -> type[Runner]:
    """A Runner class whose terminal shows what the mode says.

    Args:
        runner_class: The class.
    """
    name = runner_class.__name__
    return type(name, (_OwnConsole, runner_class), {})
