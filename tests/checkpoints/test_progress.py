import io

import pytest

from rfdetr_mm.checkpoints.progress import TransferProgress

_MB = 1_000_000


class _Stream(io.StringIO):
    def __init__(self, is_terminal):
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal


def _said(is_terminal, total, steps, start=0):
    """What is written; ``steps`` are pairs of seconds and megabytes."""
    now = [100.0]
    stream = _Stream(is_terminal)
    progress = TransferProgress(total, start, stream, lambda: now[0])
    for seconds, megabytes in steps:
        now[0] = 100.0 + seconds
        progress.show(int(megabytes * _MB))
    progress.close()
    return stream.getvalue()


@pytest.mark.parametrize('is_terminal', [True, False])
def test_short_transfers_are_silent(is_terminal):
    steps = [(0.1, 1), (0.5, 50), (1.9, 100)]
    assert _said(is_terminal, 100 * _MB, steps) == ''


def test_a_terminal_has_one_line_every_half_second():
    steps = [(2.0, 10), (2.1, 11), (2.4, 12), (2.6, 13), (4.0, 100)]
    text = _said(True, 100 * _MB, steps)
    assert text.count('\n') == 1 and text.endswith('\n')
    shown = [line.split() for line in text.strip().split('\r')]
    assert [line[0] for line in shown if line] == ['10', '13', '100']
    assert '10 %, 10.0 of 100.0 MB, 5.0 MB/s' in text


def test_a_log_has_a_line_per_tenth():
    steps = [(2 + i / 10, i) for i in range(101)]
    lines = _said(False, 100 * _MB, steps).splitlines()
    assert [int(line.split()[0]) for line in lines] == list(range(10, 101, 10))
    assert '\r' not in ''.join(lines)


def test_the_rate_is_that_of_what_has_arrived_now():
    (line,) = _said(False, 100 * _MB, [(4, 70)], 50 * _MB).splitlines()
    assert line.split() == '70 %, 70.0 of 100.0 MB, 5.0 MB/s'.split()


def test_a_size_that_is_not_known():
    lines = _said(False, None, [(3, 30), (10, 100), (11, 110)]).splitlines()
    assert [line.split() for line in lines] == ['100.0 MB, 10.0 MB/s'.split()]
