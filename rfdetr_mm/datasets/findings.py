"""What an inspection of a data set finds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

Box = tuple[float, float, float, float]
ERROR, WARNING, NOTE = 'error', 'warning', 'note'
LEVELS = (ERROR, WARNING, NOTE)
_NUM_EXAMPLES = 5


@dataclass(frozen=True)
class Suspect:
    """An image that is worth a look.

    Args:
        path: The path of its file.
        reason: Why, a few words.
        boxes: (x1, y1, x2, y2) in pixels, what to look at; none for the
            whole image.
    """

    path: str
    reason: str
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Finding:
    """Something that a user should know.

    Args:
        level: ``error`` for what training, validation or testing refuses,
            ``warning`` for what is left out or makes results doubtful,
            ``note`` for what is usual but good to know.
        kind: A name for programs.
        text: One or more sentences: what was found, and what to do.
        split: The split; None for the whole data set.
        count: How often it was found.
        examples: A few places.
    """

    level: str
    kind: str
    text: str
    split: str | None = None
    count: int = 1
    examples: tuple[str, ...] = ()


class Findings:
    """Findings and suspects, in the order in which they were added."""

    def __init__(self) -> None:
        self.all: list[Finding] = []
        self._counted: dict[tuple[str, ...], int] = {}
        self.suspects: list[Suspect] = []

    def add(
        self,
        level: str,
        kind: str,
        text: str,
        split: str | None = None,
        count: int = 1,
        examples: Sequence[str] = (),
    ) -> None:
        """Add a finding, unless the same text is there; see its class."""
        if any(found.text == text for found in self.all):
            return
        shown = tuple(examples[:_NUM_EXAMPLES])
        self.all.append(Finding(level, kind, text, split, count, shown))

    def count(
        self, level: str, kind: str, split: str, what: str, example: str
    ) -> None:
        """Count something that may be found thousands of times.

        Args:
            level: See :class:`Finding`.
            kind: See :class:`Finding`.
            split: The split.
            what: What was found, behind its number and without the place:
                equal ones are one finding.
            example: The place.
        """
        key = (level, kind, split, what)
        if key not in self._counted:
            self._counted[key] = len(self.all)
            self.all.append(Finding(level, kind, '', split, 0))
        place = self._counted[key]
        found = self.all[place]
        number = found.count + 1
        self.all[place] = replace(
            found,
            text=f'{split}: {number} {what}.',
            count=number,
            examples=(*found.examples, example)[:_NUM_EXAMPLES],
        )

    def suspect(
        self, path: str, reason: str, boxes: Sequence[Box] = ()
    ) -> None:
        """Add an image for the contact sheet; see :class:`Suspect`."""
        self.suspects.append(Suspect(path, reason, tuple(boxes)))

    def sorted(self) -> list[Finding]:
        """All findings, errors first."""
        return sorted(self.all, key=lambda found: LEVELS.index(found.level))
