"""Which keypoints the classes of a model have."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rfdetr_mm.errors import InputError

# What a query predicts for a keypoint, by channel: x and y; the logits of "an
# annotator could find it" and of "nothing hides it"; logarithm of l11, l21 and
# logarithm of l22 of the lower triangle L, where L @ L.T is the inverse of the
# covariance of x and y; and what it adds to the logit of the object's class.
X, Y, FINDABLE, VISIBLE, LOG_L11, L21, LOG_L22, CLASS = range(8)
NUM_CHANNELS = 8


@dataclass(frozen=True)
class KeypointSchema:
    """How many keypoints an object of each class has.

    Queries have the keypoints of all classes one after another, class by
    class: the compact layout. The padded layout gives every class as many as
    the largest one has.

    Attributes:
        counts: Keypoints of each class; 0 for a class without any.

    Raises:
        InputError: If a count is not a natural number, or no class has any.
    """

    counts: tuple[int, ...]

    @classmethod
    def of(cls, counts: Sequence[int], num_classes: int) -> 'KeypointSchema':
        """Check the counts of a config.

        Args:
            counts: Keypoints of each class.
            num_classes: Classes of the model.

        Returns:
            The schema.

        Raises:
            InputError: If there is not one count for each class, or a count
                is impossible.
        """
        counts = tuple(counts)
        if len(counts) != num_classes:
            raise InputError(
                'num_keypoints must have one number for each class: got '
                f'{len(counts)} numbers {counts} for num_classes='
                f'{num_classes}. Write 0 for a class without keypoints'
            )
        return cls(counts)

    def __post_init__(self) -> None:
        if not all(isinstance(n, int) and n >= 0 for n in self.counts):
            raise InputError(
                'num_keypoints must be natural numbers, one for each class, '
                f'got {self.counts}'
            )
        if not any(self.counts):
            raise InputError(
                'A keypoint model must have a class with keypoints, got '
                f'num_keypoints={self.counts}. For boxes alone use the '
                'configs of configs/rfdetr'
            )

    @property
    def total(self) -> int:
        """Keypoints of all classes together."""
        return sum(self.counts)

    @property
    def largest(self) -> int:
        """Keypoints of the class that has most."""
        return max(self.counts)

    def parts(self) -> list[slice]:
        """Where each class is in the compact layout."""
        ends = [sum(self.counts[: i + 1]) for i in range(len(self.counts))]
        return [slice(end - n, end) for end, n in zip(ends, self.counts)]

    def active(self) -> Tensor:
        """True where a class has a keypoint, shape (num_classes, largest)."""
        columns = torch.arange(self.largest, device='cpu')
        return columns < self._counts().unsqueeze(1)

    def places(self) -> Tensor:
        """Compact place of each keypoint of the padded layout.

        Returns:
            Shape (num_classes, largest); 0 where the class has none.
        """
        active = self.active()
        places = torch.zeros_like(active, dtype=torch.long)
        places[active] = torch.arange(self.total, device='cpu')
        return places

    def classes(self) -> Tensor:
        """Class of each keypoint, shape (total,)."""
        labels = torch.arange(len(self.counts), device='cpu')
        return labels.repeat_interleave(self._counts())

    def _counts(self) -> Tensor:
        # Real numbers also where a model is built on the meta device.
        return torch.tensor(self.counts, device='cpu')

    def attention_mask(self) -> Tensor | None:
        """What the instance (row 0) and its keypoints may look at.

        Returns:
            True where they may, shape (1 + total, 1 + total): everything but
            keypoints of other classes. None if there are none.

        Source: rfdetr 1.11.2,
            TransformerDecoder._create_keypoint_class_mask.
        """
        if sum(n > 0 for n in self.counts) == 1:
            return None
        classes = self.classes()
        same = classes == classes.unsqueeze(1)
        return nn.functional.pad(same, (1, 0, 1, 0), value=True)
