"""Tables of plain text."""

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], num_texts: int) -> list[str]:
    """Set cells below each other, indented by two spaces.

    Args:
        rows: Cells, equally many in each row.
        num_texts: Columns of text, which are the first ones and aligned to
            the left; the others are numbers, to the right.

    Returns:
        A line for each row.
    """
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        '  '
        + '  '.join(
            cell.ljust(width) if number < num_texts else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths))
        )
        for row in rows
    ]
