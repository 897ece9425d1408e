"""mmdeploy's replacing of functions, with one search of the memory.

To rewrite a function, mmdeploy 1.3.1 replaces it in every dict and list that
holds it, so that names which were imported from its module change too. It
asks Python's garbage collector for the holders of each function by itself:
with our deploy configs that are 38 walks over all objects of the process
before an export and 38 after it, 2.7 of the 3.4 s of processor time that a
small model's export takes. Here the holders of all functions are searched for
at once, and what is replaced is the same.
"""

import gc
from collections.abc import Callable, Iterator, MutableSequence
from contextlib import contextmanager
from typing import Any

from mmdeploy.core.rewriters import function_rewriter
from mmdeploy.core.rewriters.function_rewriter import FunctionRewriter
from mmdeploy.core.rewriters.rewriter_utils import import_function


@contextmanager
def one_search() -> Iterator[None]:
    """Let mmdeploy search for the holders of all functions at once.

    Rewriting must begin and end within the context.
    """
    original = FunctionRewriter.enter, FunctionRewriter.exit
    FunctionRewriter.enter, FunctionRewriter.exit = map(_gathered, original)
    try:
        yield
    finally:
        FunctionRewriter.enter, FunctionRewriter.exit = original


def _gathered(method: Callable[..., None]) -> Callable[..., None]:
    """Replace functions of modules after a method, instead of within it.

    Methods of classes are only looked up in their class, so they need no
    search; mmdeploy replaces them at once.
    """

    def wrapped(*args: Any, **kwargs: Any) -> None:
        waiting = []
        set_now = function_rewriter._set_func

        def set_later(path: str, new: Any) -> None:
            if import_function(path)[1] is None:
                waiting.append((path, new))
            else:
                set_now(path, new)

        function_rewriter._set_func = set_later
        try:
            method(*args, **kwargs)
        finally:
            function_rewriter._set_func = set_now
        _replace(waiting, set_now)

    return wrapped


def _replace(
    functions: list[tuple[str, Any]], set_now: Callable[[str, Any], None]
) -> None:
    """Put new functions in the places of old ones, in the order given.

    Args:
        functions: Path of each old function, and the new one.
        set_now: mmdeploy's own function for one of them.
    """
    holders = _holders([import_function(path)[0] for path, _ in functions])

    def replace_in_holders(
        old: Any, new: Any, ignore_refs: tuple, ignore_keys: tuple
    ) -> None:
        # A second path may lead to what the first one has put there.
        found = holders.pop(id(old), [])
        holders.setdefault(id(new), []).extend(found)
        for holder in found:
            if isinstance(holder, dict):
                for key, value in holder.items():
                    if value is old and key not in ignore_keys:
                        holder[key] = new
            else:
                for i, value in enumerate(holder):
                    if value is old:
                        holder[i] = new

    search = function_rewriter._replace_all_obj
    function_rewriter._replace_all_obj = replace_in_holders
    try:
        for path, new in functions:
            set_now(path, new)
    finally:
        function_rewriter._replace_all_obj = search


def _holders(functions: list[Any]) -> dict[int, list[Any]]:
    """Dicts and lists that hold a function, by the function's ``id``."""
    holders = {id(function): [] for function in functions}
    for holder in gc.get_referrers(*functions):
        if holder is functions:
            continue
        if isinstance(holder, dict):
            values = holder.values()
        elif isinstance(holder, MutableSequence):
            values = holder
        else:
            continue
        for found in {id(value) for value in values} & holders.keys():
            holders[found].append(holder)
    return holders
