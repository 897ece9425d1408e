"""How far a long transfer is, on stderr."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

_SILENT_S = 2.0
_INTERVAL_S = 0.5
_MB = 1e6


class TransferProgress:
    """Line that tells percentage, megabytes and rate of a transfer.

    Nothing is said in the first two seconds. A terminal then has one line
    that is written again every half second; any other stream, which somebody
    may keep as a log, gets a line per 10 % (per 100 MB if the size is not
    known).

    Args:
        total: Bytes of the whole file, None if not known.
        start: Bytes that were there before.
        stream: Where to write, ``sys.stderr`` by default.
        clock: Gives the time in seconds.
    """

    def __init__(
        self,
        total: int | None,
        start: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total
        self._start = start
        self._stream = stream or sys.stderr
        self._clock = clock
        self._begun_s = clock()
        self._next_s = self._begun_s + _SILENT_S
        self._step = total / 10 if total else 100 * _MB
        self._next_bytes = start + self._step
        self._is_terminal = self._stream.isatty()
        self._has_open_line = False

    def show(self, received: int) -> None:
        """Say how far it is, if it is time to.

        Args:
            received: Bytes that are there now, ``start`` included.
        """
        now = self._clock()
        if now < self._next_s:
            return
        if self._is_terminal:
            self._next_s = now + _INTERVAL_S
            print(
                f'\r{self._line(received, now)}   ',
                end='',
                file=self._stream,
                flush=True,
            )
            self._has_open_line = True
        elif received >= self._next_bytes:
            self._next_bytes = received + self._step
            print(self._line(received, now), file=self._stream, flush=True)

    def close(self) -> None:
        """End the line, if one was begun."""
        if self._has_open_line:
            print(file=self._stream, flush=True)
            self._has_open_line = False

    def _line(self, received: int, now: float) -> str:
        rate = (received - self._start) / _MB / (now - self._begun_s)
        if self._total:
            share = f'{100 * received / self._total:3.0f} %, '
            size = f' of {self._total / _MB:.1f}'
        else:
            share = size = ''
        return f'  {share}{received / _MB:.1f}{size} MB, {rate:.1f} MB/s'
