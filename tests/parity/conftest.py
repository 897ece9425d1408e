"""One pair of models per variant for all parity tests."""

import ctypes
import gc
import importlib.util

import pytest

if importlib.util.find_spec('rfdetr'):
    from oracle import POSE_VARIANTS, SEG_VARIANTS, VARIANTS, build_pair

    # Without windows, and with; the others differ in sizes alone.
    CHEAP = ('seg-nano', 'seg-medium')

    # Large and small by turns: of two processes that share the pairs out, one
    # has a large pair (up to 10 GiB with its gradients in float64), not both.
    ORDER = (
        *('2xlarge', 'nano', 'xlarge', 'small', 'large-deprecated'),
        *('medium', 'large', 'base'),
    )
    assert set(ORDER) == set(VARIANTS)

    # Session scope: pytest runs all tests of a variant together, in every
    # file, so that each pair is built once.
    @pytest.fixture(scope='session', params=ORDER)
    def any_pair(request):
        return build_pair(request.param)

    @pytest.fixture
    def pair(any_pair):
        """Upstream's model and ours in evaluation mode."""
        return any_pair.train(False)

    @pytest.fixture(
        scope='session',
        params=[
            pytest.param(name, marks=[] if name in CHEAP else pytest.mark.slow)
            for name in SEG_VARIANTS
        ],
    )
    def any_seg_pair(request):
        return build_pair(request.param)

    @pytest.fixture
    def seg_pair(any_seg_pair):
        """Upstream's model with masks and ours in evaluation mode."""
        return any_seg_pair.train(False)

    @pytest.fixture(scope='session', params=POSE_VARIANTS)
    def any_pose_pair(request):
        return build_pair(request.param)

    @pytest.fixture
    def pose_pair(any_pose_pair):
        """Upstream's model with keypoints and ours in evaluation mode."""
        return any_pose_pair.train(False)


PAIRS = ('any_pair', 'any_seg_pair', 'any_pose_pair')


def pair_of(item):
    """Which pair of models a test gets, None for any other test."""
    params = item.callspec.params if hasattr(item, 'callspec') else {}
    return next(((n, params[n]) for n in PAIRS if n in params), None)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """Let a pair go when tests of another one, or others, follow.

    The last one would stay until the session ends, and with its gradients in
    float64 it takes up to 10 GiB.
    """
    used = pair_of(item)
    if used is None or (nextitem and pair_of(nextitem) == used):
        return
    fixtures = item.session._fixturemanager.getfixturedefs(used[0], item)
    for fixture in fixtures:
        fixture.finish(item._request)
    gc.collect()
    # glibc keeps what was freed; other C libraries have no such function.
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim is not None:
        trim(0)
