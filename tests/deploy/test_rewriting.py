"""Functions are replaced as mmdeploy replaces them, after one search."""

import gc
import sys
from contextlib import nullcontext
from types import ModuleType

import pytest
from mmdeploy.core.rewriters import function_rewriter
from mmdeploy.core.rewriters.function_rewriter import FunctionRewriter
from mmdeploy.core.rewriters.rewriter_utils import collect_env
from mmdeploy.utils import IR, Backend

from rfdetr_mm.deploy.rewriting import one_search

SOURCE = """
def one(): return 'one'
def two(): return 'two'
alias = one
class Base:
    def method(self): return 'method'
class Derived(Base): pass
"""


@pytest.fixture
def places(monkeypatch):
    """Modules, a list and dicts that hold functions."""
    source, user = ModuleType('a_source'), ModuleType('a_user')
    exec(SOURCE, source.__dict__)
    user.renamed, user.pair = source.one, [source.two, source.one, 3]
    user.kept = dict(origin_func=source.one, other=source.one)
    monkeypatch.setitem(sys.modules, source.__name__, source)
    yield source, user


@pytest.fixture
def rewriter():
    """Rewrites two functions, a second path to one, and two methods."""
    rewriter = FunctionRewriter()
    for path in ('one', 'two', 'alias', 'Base.method', 'Derived.method'):

        def new(*args, answer=f'new {path}'):
            return answer

        new.__name__ = new.__qualname__ = f'new_{path.replace(".", "_")}'
        rewriter.register_rewriter(f'a_source.{path}')(new)
    return rewriter


def answers(source, user):
    return dict(
        one=source.one(),
        two=source.two(),
        alias=source.alias(),
        renamed=user.renamed(),
        pair=[function() for function in user.pair[:2]],
        rest=user.pair[2],
        origin=user.kept['origin_func'](),
        other=user.kept['other'](),
        method=source.Base().method(),
        derived=source.Derived().method(),
        own='method' in vars(source.Derived),
    )


@pytest.mark.parametrize('context', [nullcontext, one_search])
def test_what_is_replaced_and_put_back(places, rewriter, context):
    before = answers(*places)
    with context():
        rewriter.enter(env=collect_env(Backend.ONNXRUNTIME, IR.ONNX))
        within = answers(*places)
        rewriter.exit()
    assert within == dict(
        # The second path leads to the same function, and comes later.
        one='new alias',
        two='new two',
        alias='new alias',
        renamed='new alias',
        pair=['new two', 'new alias'],
        rest=3,
        origin='one',
        other='new alias',
        method='new Base.method',
        derived='new Derived.method',
        own=True,
    )
    assert answers(*places) == before


def test_the_memory_is_searched_twice(places, rewriter, monkeypatch):
    searches = []

    class Counting(ModuleType):
        @staticmethod
        def get_referrers(*objects):
            searches.append(len(objects))
            return gc.get_referrers(*objects)

    monkeypatch.setitem(sys.modules, 'gc', Counting('gc'))
    monkeypatch.setattr('rfdetr_mm.deploy.rewriting.gc', sys.modules['gc'])
    with one_search():
        rewriter.enter(env=collect_env(Backend.ONNXRUNTIME, IR.ONNX))
        rewriter.exit()
    assert searches == [3, 3]


def test_mmdeploy_is_left_as_it_was(places, rewriter):
    names = '_set_func', '_replace_all_obj'
    before = [getattr(function_rewriter, name) for name in names]
    methods = FunctionRewriter.enter, FunctionRewriter.exit
    with pytest.raises(RuntimeError, match='on purpose'), one_search():
        rewriter.enter(env=collect_env(Backend.ONNXRUNTIME, IR.ONNX))
        rewriter.exit()
        raise RuntimeError('on purpose')
    assert [getattr(function_rewriter, name) for name in names] == before
    assert (FunctionRewriter.enter, FunctionRewriter.exit) == methods
