"""Reading a flatbuffer, the encoding of TFLite's and ExecuTorch's files.

A flatbuffer is made of tables that point at each other. A table begins with
the distance back to its list of fields, which holds for each field its
distance from the table, 0 for one that is left out. What is not there raises
``struct.error`` or ``IndexError``.

Source: flatbuffers' description of its encoding.
"""

import mmap
import struct


def follow(content: mmap.mmap, place: int) -> int:
    """Where the reference at a place leads."""
    return place + struct.unpack_from('<I', content, place)[0]


def field(content: mmap.mmap, table: int, number: int) -> int | None:
    """The place of a table's field, None if it is left out."""
    fields = table - struct.unpack_from('<i', content, table)[0]
    size = struct.unpack_from('<H', content, fields)[0]
    if 4 + 2 * number >= size:
        return None
    distance = struct.unpack_from('<H', content, fields + 4 + 2 * number)[0]
    return table + distance if distance else None


def number_of(content: mmap.mmap, table: int, number: int, kind: str) -> int:
    """A field that is a number, 0 if it is left out.

    Args:
        content: The file.
        table: The place of the table.
        number: The number of the field.
        kind: The number's format, of :mod:`struct`.
    """
    place = field(content, table, number)
    return 0 if place is None else struct.unpack_from(kind, content, place)[0]


def table_of(content: mmap.mmap, table: int, number: int) -> int | None:
    """The place of a table that a field points at, None if left out."""
    place = field(content, table, number)
    return None if place is None else follow(content, place)


def tables_of(content: mmap.mmap, table: int, number: int) -> list[int]:
    """Places of the tables that a field lists.

    Raises:
        IndexError: If the list goes beyond the end of the file.
    """
    start = table_of(content, table, number)
    if start is None:
        return []
    count = struct.unpack_from('<I', content, start)[0]
    if start + 4 + 4 * count > len(content):
        raise IndexError(count)
    return [follow(content, start + 4 + 4 * i) for i in range(count)]


def bytes_of(content: mmap.mmap, table: int, number: int) -> bytes:
    """A field that is a text or a list of bytes, empty if it is left out.

    Raises:
        IndexError: If it goes beyond the end of the file.
    """
    start = table_of(content, table, number)
    if start is None:
        return b''
    length = struct.unpack_from('<I', content, start)[0]
    found = content[start + 4 : start + 4 + length]
    if len(found) < length:
        raise IndexError(length)
    return found
