"""How ``pytest -n`` shares the tests out between processes.

A file's tests stay in one process, so that what its fixtures make is made
once. The parity tests of one pair of models, in whatever file, stay together
for the same reason. What takes longest is handed out first: otherwise one
process would work at it while the other has nothing left.
"""

import re

import pytest

try:
    from xdist.scheduler import LoadScopeScheduling
except ImportError:  # pytest-xdist is for speed alone.
    LoadScopeScheduling = object

# Folders of long tests. Their order, then the one of collection.
FIRST = ('tests/tools/', 'tests/parity/', 'tests/demo/', 'tests/apis/')
# Their tests get a pair of models, by a fixture of the session. Others build
# one by themselves, and may not get one that these have made float64.
PAIR_FILES = {
    f'tests/parity/test_{name}_parity.py'
    for name in (
        *(
            'end_to_end',
            'evaluation_loss',
            'keypoint',
            'keypoint_train',
            'mask',
            'mask_train',
        ),
        *('stage', 'train'),
    )
}
PAIR = re.compile(
    r'[\[-]((?:seg-|pose-)?(?:nano|small|medium|large-deprecated|large|base'
    r'|xlarge|2xlarge|preview))(?=[-\]])'
)


def hands_tests_out(config: pytest.Config) -> bool:
    """Whether this process gives the tests to others and runs none."""
    return bool(config.getoption('numprocesses', None)) and not hasattr(
        config, 'workerinput'
    )


def scope_of(nodeid: str) -> str:
    """Name what a test has to share a process with.

    Args:
        nodeid: As ``tests/parity/test_mask_parity.py::test_a[seg-nano]``.

    Returns:
        The file, or the pair of models of a parity test.
    """
    file, _, test = nodeid.partition('::')
    pair = PAIR.search(test) if file in PAIR_FILES else None
    return f'tests/parity/ {pair[1]}' if pair else file


def rank(scope: str) -> int:
    """Place of a scope: lower ones are handed out first."""
    return next(
        (i for i, part in enumerate(FIRST) if scope.startswith(part)),
        len(FIRST),
    )


class ByFile(LoadScopeScheduling):
    """Hands out files in the order of the collection."""

    def __init__(self, config: pytest.Config, log: object = None) -> None:
        super().__init__(config, log)
        # xdist would begin with the files of the most tests.
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)
