"""Nothing is skipped silently in the environments of ``make env``."""

import re
from importlib.metadata import distributions
from pathlib import Path

import pytest
from stacks import ABSENT, DISTRIBUTION, OPTIONAL, complaint

TESTS = Path(__file__).parent


def everything(name):
    return True


@pytest.mark.parametrize('stack', list(ABSENT))
def test_complete_environment(stack):
    assert complaint(stack, [DISTRIBUTION[stack]], everything) is None


@pytest.mark.parametrize('missing', OPTIONAL)
@pytest.mark.parametrize('stack', list(ABSENT))
def test_missing_package(stack, missing):
    """Only what has a reason may be missing; the oracle has none."""
    found = complaint(stack, [DISTRIBUTION[stack]], lambda n: n != missing)
    if missing in ABSENT[stack]:
        assert found is None
    else:
        assert f'lacks {missing},' in found


def test_another_stack():
    found = complaint('onedl', ['mmdet'], everything)
    assert '--stack=onedl' in found and 'onedl-mmdetection' in found


def test_every_skip_is_listed():
    named = set()
    for path in TESTS.rglob('*.py'):
        text = path.read_text(encoding='utf-8')
        named.update(re.findall(r"importorskip\(\s*'(\w+)", text))
    assert {'rfdetr', 'wandb'} <= named <= set(OPTIONAL)


def test_this_environment_is_of_one_stack():
    names = {d.metadata['Name'] for d in distributions()}
    assert len(names & set(DISTRIBUTION.values())) == 1
