"""An evaluation that one can look at: a page, and the same as JSON and CSV."""

from .making import (
    check_report,
    keep_results,
    report_evaluation,
    report_results,
    speed_of,
)
from .results import metric_of

__all__ = [
    'check_report',
    'keep_results',
    'metric_of',
    'report_evaluation',
    'report_results',
    'speed_of',
]
