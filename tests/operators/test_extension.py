"""The names of mmcv's extension."""

import ast
import inspect
import re
from pathlib import Path

import mmcv.ops
import pytest
import torch

from rfdetr_mm.operators import extension

ROOT = Path(__file__).parents[2]
OPS = Path(mmcv.ops.__file__).parent


def names_that_mmcv_wants():
    """What its modules hand to load_ext, by module."""
    for path in sorted(OPS.glob('*.py')):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, 'attr', '') == 'load_ext'
            ):
                for element in node.args[1].elts:
                    yield path, element.value


def calls_with_keywords():
    """Calls of covered operators in mmcv, with the arguments' names."""
    for path in sorted(OPS.glob('*.py')):
        for node in ast.walk(ast.parse(path.read_text())):
            function = getattr(node, 'func', None)
            if (
                isinstance(function, ast.Attribute)
                and getattr(function.value, 'id', '') == 'ext_module'
                and function.attr in extension.__all__
                # A branch for another torch hands over lists.
                and not any(isinstance(a, ast.Starred) for a in node.args)
            ):
                yield pytest.param(node, id=f'{path.stem}.{function.attr}')


def test_mmcv_finds_every_name():
    wanted = {name for _, name in names_that_mmcv_wants()}
    assert len(wanted) > 90
    assert all(callable(getattr(extension, name)) for name in wanted)
    functions = set(extension.__all__) - {'OperatorNotCompiledError'}
    assert len(functions) >= 25
    # mmcv 2.1.0 lacks none of those either.
    assert functions <= wanted


@pytest.mark.parametrize('call', calls_with_keywords())
def test_arguments_are_those_of_mmcvs_calls(call):
    signature = inspect.signature(getattr(extension, call.func.attr))
    keywords = {keyword.arg: None for keyword in call.keywords}
    signature.bind(*call.args, **keywords)


def test_what_is_not_covered_says_how_to_get_it():
    message = (
        r'the operator nms_rotated needs a compiled mmcv; .*'
        r'MMCV_WITH_OPS=1 pip install .* --no-binary (onedl-)?mmcv \1?mmcv$'
    )
    with pytest.raises(extension.OperatorNotCompiledError, match=message) as e:
        mmcv.ops.nms_rotated(torch.rand(5, 5), torch.rand(5), 0.5)
    assert '\n' not in str(e.value)
    assert isinstance(e.value, NotImplementedError)
    assert extension.nms_rotated.__name__ == 'nms_rotated'
    with pytest.raises(AttributeError):
        extension.__wrapped__  # noqa: B018  as inspect asks


def test_versions_are_reported(ops):
    assert ops.get_compiler_version().startswith('n/a')
    assert ops.get_compiling_cuda_version().startswith('n/a')


def test_docs_list_what_is_covered():
    text = (ROOT / 'docs' / 'operators.md').read_text()
    listed = set(re.findall(r'`([a-z_0-9]+)`', text))
    assert set(extension.__all__) - {'OperatorNotCompiledError'} <= listed
