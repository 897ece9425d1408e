"""One pair of models per variant for all parity tests."""

import importlib.util

import pytest

if importlib.util.find_spec('rfdetr'):
    from oracle import VARIANTS, build_pair

    # Session scope: pytest runs all tests of a variant together, in every
    # file, so that each pair is built once.
    @pytest.fixture(scope='session', params=list(VARIANTS))
    def any_pair(request):
        return build_pair(request.param)

    @pytest.fixture
    def pair(any_pair):
        """Upstream's model and ours in evaluation mode."""
        return any_pair.train(False)
