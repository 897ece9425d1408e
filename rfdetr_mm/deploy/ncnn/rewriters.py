"""mmdeploy's rewriters for ncnn, which are for its own converter."""

from typing import Any

import mmdeploy.pytorch.functions  # noqa: F401  registers them
from mmdeploy.core import FUNCTION_REWRITER
from mmdeploy.core.rewriters.rewriter_utils import BackendChecker
from mmdeploy.utils import Backend


def remove_rewriters() -> None:
    """Leave PyTorch's functions as they are when a model is for ncnn.

    mmdeploy 1.3.1 replaces some of them for the graph that its converter
    takes. pnnx needs none, and two fail where our constants are computed:
    interpolate knows no antialiasing, and expand forgets its tensor.
    """
    registry = FUNCTION_REWRITER._registry
    records = [r for rs in registry._rewrite_records.values() for r in rs]
    for function in {r['_object'] for r in records if _is_for_ncnn(r)}:
        registry.remove_record(function, lambda r: not _is_for_ncnn(r))


def _is_for_ncnn(record: dict[str, Any]) -> bool:
    """Whether a record is mmdeploy's own, for ncnn and a function of torch."""
    return record['_object'].__module__.startswith(
        'mmdeploy.pytorch.'
    ) and any(
        isinstance(checker, BackendChecker)
        and checker.required_backend == Backend.NCNN
        for checker in record['_checkers']
    )
