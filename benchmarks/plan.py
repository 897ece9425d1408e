"""What docs/benchmark.md has of compare_upstream.py, in its order."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

NOTHING: Mapping[str, str] = MappingProxyType({})


class Entry(NamedTuple):
    """What one call of compare_upstream.py measures.

    Args:
        variant: One of ``upstream.VARIANTS``.
        batch_size: Images of a training step.
        row: One of the rows of compare_upstream.py.
        rounds: How many rounds are timed.
        aims: By a row's name the ratio that it should not exceed, or a text.
    """

    variant: str
    batch_size: int
    row: str
    rounds: int = 15
    aims: Mapping[str, str] = NOTHING

    @property
    def name(self) -> str:
        """The name of its files, without their date."""
        return entry_name(self.variant, self.batch_size, self.row)


def entry_name(variant: str, batch_size: int, row: str) -> str:
    """See :attr:`Entry.name`."""
    return f'{variant}_batch-{batch_size}_{row}'


PEAKS = 'of that, beyond imports and weights, batch '
STEP = 'training step, batch '
DATA = {
    f'training data, {workers} workers, time per image': '0.6'
    for workers in (0, 2)
}
# What a table has, in its order. A pair of steps of Keypoint Preview takes a
# minute, and the slow evaluator two.
PLAN = (
    Entry('nano', 2, 'forward', aims={'forward, eager': '1.0'}),
    Entry('nano', 2, 'train_step', aims={STEP + '2': '0.88, Intel 0.85'}),
    Entry(
        'nano',
        2,
        'train_step_bf16',
        aims={STEP + '2, in bfloat16': '0.60'},
    ),
    Entry('nano', 2, 'memory', 3, aims={PEAKS + '2': '0.65'}),
    Entry('nano', 2, 'onnxruntime', aims={'ONNX Runtime': '1.0'}),
    Entry(
        'nano',
        2,
        'predict',
        aims={
            'predict, eager': '1.0',
            'predict, both by TorchScript': '1.0',
            'predict, RFDETRInferencer, eager': '1.0',
        },
    ),
    Entry('nano', 2, 'data', 5, aims=DATA),
    Entry(
        'nano',
        2,
        'evaluation',
        1,
        aims={
            'COCO evaluation, 5000 images x 300, VernierCocoMetric': '1.0',
        },
    ),
    Entry(
        'nano',
        2,
        'start_up',
        5,
        aims={'start-up beyond these imports': '1 s'},
    ),
    Entry('nano', 8, 'train_step', aims={STEP + '8': '0.95'}),
    Entry('nano', 8, 'memory', 3),
    Entry('medium', 2, 'forward', aims={'forward, eager': '1.0'}),
    Entry('medium', 2, 'train_step', aims={STEP + '2': '0.95'}),
    Entry('medium', 2, 'memory', 3),
    Entry('seg-nano', 2, 'forward', aims={'forward, eager': '1.0'}),
    Entry('seg-nano', 2, 'train_step', aims={STEP + '2': '0.95'}),
    Entry('seg-nano', 2, 'memory', 3),
    Entry('seg-nano', 2, 'data', 5, aims=DATA),
    Entry('keypoint-preview', 2, 'forward', aims={'forward, eager': '1.0'}),
    Entry('keypoint-preview', 2, 'train_step', 5, aims={STEP + '2': '0.95'}),
    Entry('keypoint-preview', 2, 'memory', 3),
    Entry('keypoint-preview', 2, 'data', 5, aims=DATA),
)
