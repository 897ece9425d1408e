"""What every test needs: mmdet's scope, one seed, few threads."""

import logging
from importlib.metadata import distributions

# Before mmdet, whose operators it brings. It registers everything.
import rfdetr_mm  # noqa: F401

# isort: split
import pytest
import torch
from mmdet.utils import register_all_modules
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.utils import digit_version
from stacks import ABSENT, complaint


def pytest_addoption(parser):
    parser.addoption(
        '--stack', choices=list(ABSENT),
        help='stop unless everything that its environment has is installed',
    )  # fmt: skip


def pytest_configure(config):
    stack = config.getoption('stack')
    if stack is None:
        return
    lacking = complaint(stack, {d.name for d in distributions()})
    if lacking:
        raise pytest.UsageError(lacking)


def pytest_report_header(config):
    absent = ABSENT.get(config.getoption('stack'), {})
    return [f'skipped without {n}, which {why}' for n, why in absent.items()]


def pytest_runtest_setup(item):
    """Skip a test whose marker ``needs_torch`` names a later version."""
    for marker in item.iter_markers('needs_torch'):
        version, what = marker.args
        if digit_version(torch.__version__) < digit_version(version):
            pytest.skip(
                f'{what} needs torch {version}, this is {torch.__version__}'
            )


@pytest.fixture(autouse=True, scope='session')
def mmdet_scope():
    register_all_modules(init_default_scope=True)


@pytest.fixture(autouse=True)
def seed_and_scope():
    torch.manual_seed(0)
    yield
    # A Runner in a test leaves its own scope behind.
    init_default_scope('mmdet')


@pytest.fixture
def log_lines():
    """Messages, no debugging ones, to mmengine's current logger."""
    lines = []
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)
