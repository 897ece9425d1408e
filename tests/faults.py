"""Bad input by number: a valid input, changed in one place.

A target is something that reads what a user gives. Each has a table of kinds
of fault, which runs in ``make test``, and a way to draw changes at random,
which ``make fuzz`` does for as long as it is told. Whatever is read must be
taken, or be refused by one InputError; nothing else may be raised, no file may
be left, and no call may take long.
"""

import copy
import json
import random
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rfdetr_mm.errors import InputError

MAX_SECONDS = 10  # of one call
MAX_GROWTH_MIB = 1536  # Pillow's largest picture, as RGB and as an array
MAX_MESSAGE = 3000  # characters
REMOVED = object()


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        kind: The kind of its fault, a row of the table.
        name: What was changed, for the message of a failing test.
        data: The input, as the target's ``run`` takes it.
    """

    kind: str
    name: str
    data: Any


@dataclass(frozen=True)
class Target:
    """Something that reads input.

    Attributes:
        name: Its name.
        cases: Gives the table.
        draw: Gives a case that a generator has drawn.
        run: Reads the data of a case in an empty folder.
        unparsed: Beginnings or parts of messages about input that is not of
            the format at all, such as text that is no JSON.
        modules: Names of the modules whose branches are counted.
    """

    name: str
    cases: Callable[[], Iterable[Case]]
    draw: Callable[[random.Random], Case]
    run: Callable[[Path, Any], None]
    unparsed: tuple[str, ...]
    modules: tuple[str, ...]


@dataclass
class Tally:
    """What came out.

    Attributes:
        accepted: Inputs that were taken.
        refused: Inputs that were refused.
        unparsed: Those among them that are not of the format.
        slowest_s: Seconds of the slowest call.
        kinds: Kind of fault to number of cases.
    """

    accepted: int = 0
    refused: int = 0
    unparsed: int = 0
    slowest_s: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """All inputs."""
        return self.accepted + self.refused

    @property
    def parsed_share(self) -> float:
        """Share of the inputs that got past parsing."""
        return 1 - self.unparsed / max(self.total, 1)

    def __str__(self) -> str:
        return (
            f'{self.total} inputs of {len(self.kinds)} kinds, '
            f'{self.accepted} taken, {self.refused} refused, '
            f'{self.parsed_share:.0%} past parsing, slowest call '
            f'{self.slowest_s:.2f} s'
        )


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in what takes longer, of the processor's time.

    That of the clock depends on what else the machine does.
    """

    def stop(*args: Any) -> None:
        raise TimeoutError(f'took more than {seconds} s')

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def run_case(target: Target, case: Case, folder: Path, tally: Tally) -> None:
    """Run a case in a new folder, and count what came out.

    Raises:
        AssertionError: If the input was neither taken nor refused as it
            must be.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    started = time.process_time()
    tally.kinds[case.kind] += 1
    where = f'{target.name}, {case.kind}: {case.name}'
    try:
        with time_limit(MAX_SECONDS):
            target.run(folder, case.data)
        tally.accepted += 1
    except InputError as error:
        text = str(error)
        tally.refused += 1
        tally.unparsed += any(part in text for part in target.unparsed)
        assert 10 < len(text) < MAX_MESSAGE, f'{where}: {text[:500]}'
    except Exception as error:
        raise AssertionError(f'{where}: {error!r}') from error
    tally.slowest_s = max(tally.slowest_s, time.process_time() - started)
    left = [p.name for p in folder.rglob('*') if p.name.endswith('.part')]
    assert not left, f'{where}: left {left}'


def run_table(target: Target, folder: Path, number: int) -> Tally:
    """Run so many cases of a table, spread over it; see :func:`run_case`.

    For the time; ``make fuzz`` runs all of them.
    """
    tally = Tally()
    for case in in_turn(list(target.cases()), number):
        run_case(target, case, folder / 'case', tally)
    return tally


def size_of_table(target: Target) -> tuple[int, int]:
    """Number of cases and of kinds of fault."""
    kinds = Counter(case.kind for case in target.cases())
    return kinds.total(), len(kinds)


def fuzz(target: Target, folder: Path, minutes: float, seed: int) -> Tally:
    """Draw and run cases until the time is over; print what came out.

    Raises:
        AssertionError: As :func:`run_case`, with the case; or if less than
            half of the inputs got past parsing, less than nine tenths of the
            readers' branches ran, or memory grew.
    """
    import coverage

    files = [sys.modules[name].__file__ for name in target.modules]
    measured = coverage.Coverage(
        branch=True, include=files, data_file=None, messages=False
    )
    tally = Tally()
    before = _peak_mib()
    rng = random.Random(seed)
    measured.start()
    try:
        for case in target.cases():
            run_case(target, case, folder / 'case', Tally())
        end = time.monotonic() + 60 * minutes
        while time.monotonic() < end:
            run_case(target, target.draw(rng), folder / 'case', tally)
    finally:
        measured.stop()
    share = branch_share(measured, folder / 'coverage.json')
    growth = _peak_mib() - before
    print(
        f'\n{target.name}: {tally}, {share:.1%} of the branches, memory grew '
        f'by {growth:.0f} MiB'
    )
    assert tally.parsed_share >= 0.5
    assert growth < MAX_GROWTH_MIB
    assert share >= 0.9
    return tally


def branch_share(measured: Any, report: Path) -> float:
    """Share of branches that ran; the others are printed."""
    measured.json_report(outfile=str(report))
    files = json.loads(report.read_text())['files']
    found = total = 0
    for name, content in files.items():
        found += content['summary']['covered_branches']
        total += content['summary']['num_branches']
        print(f'{Path(name).name}: not run {content["missing_branches"]}')
    return found / max(total, 1)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ---------------------------------------------------------------- plain data
Place = tuple[Any, ...]

# Kind of fault to values that a place gets.
VALUES: dict[str, tuple[Any, ...]] = {
    'removed': (REMOVED,),
    'null': (None,),
    'a flag': (True, False),
    'empty text': ('',),
    'other text': ('x', 'None', ' ', 'ü' * 300),
    'digits as text': ('1', '007', '-1', '1.5', '١'),
    'text with a zero byte': ('a\0b',),
    'text that is half a character': ('\ud800',),
    'path to elsewhere': ('../../etc/passwd', '/', '.'),
    'zero': (0, 0.0, -0.0),
    'negative': (-1, -2.5),
    'fraction': (0.5, 1.0000001),
    'huge': (2**31, 2**63, 10**30, 1e308, -1e308),
    'number of a thousand digits': (10**1000,),
    'not a number': (float('nan'),),
    'infinite': (float('inf'), float('-inf')),
    'empty list': ([],),
    'list': ([1], [None], ['a', 'b'], [1, 2, 3, 4, 5]),
    'list in lists': ([[[1, 2]]],),
    'empty mapping': ({},),
    'mapping': ({'a': 1}, {'size': [1, 2], 'counts': 'x'}),
}


def places(node: Any, at: Place = ()) -> Iterator[Place]:
    """All places within lists and dicts, but the whole."""
    children = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for key, child in children:
        yield (*at, key)
        yield from places(child, (*at, key))


def changed(content: Any, place: Place, value: Any) -> Any:
    """A copy with another value at a place; the rest is shared."""
    content, node = _opened(content, place)
    if value is REMOVED:
        del node[place[-1]]
    else:
        node[place[-1]] = value
    return content


def _opened(content: Any, place: Place) -> tuple[Any, Any]:
    """A copy of what leads to a place, and the copy that has the place."""
    content = node = copy.copy(content)
    for key in place[:-1]:
        node[key] = copy.copy(node[key])
        node = node[key]
    return content, node


def repeated(content: Any, place: Place) -> Any:
    """A copy with a list's entry twice, or a key twice in another case."""
    content, node = _opened(content, place)
    if isinstance(node, list):
        node.append(copy.deepcopy(node[place[-1]]))
    else:
        node[f'{place[-1]}'.upper()] = node[place[-1]]
    return content


def changed_cases(content: Any) -> Iterator[Case]:
    """The table of plain data: every value at every place."""
    for place in places(content):
        name = '.'.join(map(str, place))
        yield Case('repeated', name, repeated(content, place))
        for kind, values in VALUES.items():
            for value in values:
                if value is REMOVED:
                    shown = 'removed'
                else:
                    shown = repr(value)[:30] if kind[0] != 'n' else kind
                yield Case(
                    kind,
                    f'{name} = {shown}',
                    changed(content, place, value),
                )


def draw_change(content: Any, rng: random.Random) -> Case:
    """One change of plain data, drawn."""
    place = rng.choice(list(places(content)))
    name = '.'.join(map(str, place))
    how = rng.random()
    if how < 0.1:
        return Case('repeated', name, repeated(content, place))
    if how < 0.25:  # what stands elsewhere
        other = rng.choice(list(places(content)))
        value = content
        for key in other:
            value = value[key]
        return Case(
            'moved', f'{name} = {other}', changed(content, place, value)
        )
    if how < 0.5:
        value = _drawn_number(rng)
        return Case(
            'number', f'{name} = {value!r:.40}', changed(content, place, value)
        )
    kind = rng.choice(list(VALUES))
    value = rng.choice(VALUES[kind])
    return Case(kind, f'{name} ({kind})', changed(content, place, value))


def _drawn_number(rng: random.Random) -> float | int:
    value = rng.choice((1, 10, 1000, 1e6)) * rng.uniform(-1, 1)
    return rng.choice((value, round(value), abs(round(value))))


# --------------------------------------------------------------------- bytes
def changed_bytes(data: bytes, header: int = 64) -> Iterator[Case]:
    """The table of files: cut, flipped, overwritten, lengthened."""
    for share in (0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        size = int(len(data) * share)
        yield Case('cut off', f'at {size}', data[:size])
    yield Case('last byte missing', '', data[:-1])
    for position in range(min(header, len(data))):
        for bits in (0x01, 0x80, 0xFF):
            name = f'{position} ^ {bits:#x}'
            yield Case('bits flipped', name, flipped(data, position, bits))
    for start in range(0, len(data), max(len(data) // 6, 1)):
        block = bytes(min(16, len(data) - start))
        broken = data[:start] + block + data[start + 16 :]
        yield Case('overwritten by zeros', f'from {start}', broken)
    yield Case('lengthened', '', data + b'\0' * 100)
    yield Case('something before it', '', b'\n' + data)
    yield Case('twice', '', data + data)
    yield Case('reversed', '', data[::-1])
    for name, start in (
        ('a web page', b'<!DOCTYPE html><html>'),
        ('a pointer', b'version https://git-lfs.github.com/spec/v1\n'),
        ('an archive', b'\x1f\x8b\x08\0'),
        ('a zip archive', b'PK\x03\x04'),
        ('a picture', b'\x89PNG\r\n\x1a\n'),
        ('a photograph', b'\xff\xd8\xff\xe0'),
        ('zeros', bytes(100)),
        ('text', b'hello'),
    ):
        yield Case('another kind of file', name, start)


def flipped(data: bytes, position: int, bits: int) -> bytes:
    """Some bits of one byte the other way round."""
    byte = bytes([data[position] ^ bits])
    return data[:position] + byte + data[position + 1 :]


def draw_bytes(data: bytes, rng: random.Random) -> Case:
    """One change of a file, drawn; mostly of one byte."""
    position = rng.randrange(len(data))
    if rng.random() < 0.8:
        bits = rng.choice((1 << rng.randrange(8), 0xFF))
        name = f'{position} ^ {bits:#x}'
        return Case('bits flipped', name, flipped(data, position, bits))
    if rng.random() < 0.5:
        return Case('cut off', f'at {position}', data[:position])
    block = rng.randbytes(rng.randrange(1, 9))
    broken = data[:position] + block + data[position + len(block) :]
    return Case('overwritten', f'from {position}', broken)


# ---------------------------------------------------------------------- text
SYNTAX = ' \t\n\r\0"\'{}[]()<>,:;=+-*&!%#@|\\/.~^0123456789eExXnNaAäé\u2028'


def draw_text(text: str, rng: random.Random) -> Case:
    """One change of a text, drawn: a character, or a line."""
    lines = text.splitlines(keepends=True) or ['']
    how = rng.random()
    position = rng.randrange(len(text) + 1)
    if how < 0.3:
        piece = rng.choice(SYNTAX)
        broken = text[:position] + piece + text[position:]
        return Case('character added', f'{piece!r} at {position}', broken)
    if how < 0.5:
        broken = text[:position] + text[position + 1 :]
        return Case('character missing', f'at {position}', broken)
    if how < 0.7:
        piece = rng.choice(SYNTAX)
        broken = text[:position] + piece + text[position + 1 :]
        return Case('other character', f'{piece!r} at {position}', broken)
    number = rng.randrange(len(lines))
    if how < 0.85:
        lines.insert(number, lines[rng.randrange(len(lines))])
        return Case('line repeated', f'line {number}', ''.join(lines))
    del lines[number]
    return Case('line missing', f'line {number}', ''.join(lines))


def broken_texts(text: str) -> Iterator[Case]:
    """The table of text files: encodings, ends, what is around."""
    raw = text.encode()
    yield from changed_bytes(raw, header=8)
    for kind, data in (
        ('empty', b''),
        ('blank', b' \n\n'),
        ('byte order mark', b'\xef\xbb\xbf' + raw),
        ('UTF-16', text.encode('utf-16')),
        ('Latin-1', 'ÄÖ'.encode('latin-1') + raw),
        ('zero byte', raw[:-1] + b'\0' + raw[-1:]),
        ('garbage at the end', raw + b'}]'),
        ('line ends of Windows', raw.replace(b'\n', b'\r\n')),
        ('quotes of Python', raw.replace(b'"', b"'")),
        ('deep nesting', b'[' * 2000),
        ('deep nesting of mappings', b'{"a":' * 2000),
        ('number of 5000 digits', b'1' * 5000),
    ):
        yield Case(kind, '', data)


def in_turn(cases: Sequence[Case], number: int) -> Iterator[Case]:
    """So many of the cases, spread over all of them."""
    for i in range(min(number, len(cases))):
        yield cases[i * len(cases) // min(number, len(cases))]
