"""What every test needs: mmdet's scope, one seed, few threads.

With ``-n`` this file is read by the process that hands the tests out as well,
which runs none: what takes seconds to import is imported by the others only.
"""

import gc
import logging
import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from stacks import ABSENT, complaint
from workers import ByFile, hands_tests_out, rank, scope_of

ROOT = Path(__file__).parents[1]


def pytest_addoption(parser):
    parser.addoption(
        '--stack', choices=list(ABSENT),
        help='stop unless everything that its environment has is installed',
    )  # fmt: skip
    parser.addoption(
        '--fuzz-minutes', type=float, default=10,
        help='how long each target of make fuzz runs',
    )  # fmt: skip


def pytest_configure(config):
    stack = config.getoption('stack')
    if stack is not None:
        lacking = complaint(stack, {d.name for d in distributions()})
        if lacking:
            raise pytest.UsageError(lacking)
    if not (ROOT / 'rfdetr_mm' / '.mim').exists():
        # Configs by the package's name, in a clone that make has not seen.
        # With -n this is done before the other processes start.
        subprocess.run(
            [sys.executable, 'setup.py', '-q', 'link_mim'],
            cwd=ROOT,
            check=True,
        )
    if hands_tests_out(config):
        # As many processes as cores, then, and one thread each. What the
        # tests start inherits it.
        os.environ.setdefault('OMP_NUM_THREADS', '1')
    else:
        # It registers everything, and comes before mmdet, whose operators it
        # brings.
        import rfdetr_mm  # noqa: F401


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return ByFile(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    if hasattr(config, 'workerinput'):
        items.sort(key=lambda item: rank(scope_of(item.nodeid)))


def pytest_collection_finish(session):
    """Leave out what has been imported when garbage is collected.

    mmengine collects it for each data set it builds, and each time would look
    at half a million objects that stay until the end.
    """
    gc.collect()
    gc.freeze()


def pytest_report_header(config):
    absent = ABSENT.get(config.getoption('stack'), {})
    return [f'skipped without {n}, which {why}' for n, why in absent.items()]


def pytest_runtest_setup(item):
    """Skip a test whose marker ``needs_torch`` names a later version.

    One that goes on until its time is over runs only where it is asked for.
    """
    if item.get_closest_marker('fuzz') and 'fuzz' not in (
        item.config.getoption('markexpr')
    ):
        pytest.skip('run by make fuzz')
    import torch
    from mmengine.utils import digit_version

    for marker in item.iter_markers('needs_torch'):
        version, what = marker.args
        if digit_version(torch.__version__) < digit_version(version):
            pytest.skip(
                f'{what} needs torch {version}, this is {torch.__version__}'
            )


@pytest.fixture(autouse=True, scope='session')
def mmdet_scope():
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=True)


@pytest.fixture(autouse=True)
def seed_and_scope():
    import torch
    from mmengine.registry import init_default_scope

    torch.manual_seed(0)
    yield
    # A Runner in a test leaves its own scope behind.
    init_default_scope('mmdet')


@pytest.fixture
def fuzz_minutes(request):
    return request.config.getoption('--fuzz-minutes')


@pytest.fixture
def log_lines():
    """Messages, no debugging ones, to mmengine's current logger."""
    from mmengine.logging import MMLogger

    lines = []
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)
