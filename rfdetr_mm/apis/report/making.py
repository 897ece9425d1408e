"""Reports of a metric that has just evaluated, or of a file of results."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.dist import is_main_process

from rfdetr_mm.evaluation import NamedCocoMetric
from rfdetr_mm.evaluation.analysis import Analysis, analyse
from rfdetr_mm.evaluation.scenes import scenes_of
from rfdetr_mm.evaluation.vernier_grid import import_vernier
from rfdetr_runtime.command_line.benchmark import latency_ms

from .folder import JSON_FILE, check_against, check_folder
from .results import data_of, read_results
from .writing import write_report

_RUNS = 7  # that are timed


def check_report(
    folder: str | os.PathLike[str], against: str | os.PathLike[str] | None
) -> dict[str, Any] | None:
    """Check all that a report needs, before an evaluation that takes long.

    Args:
        folder: Where it goes, see :func:`check_folder`.
        against: An earlier report, see :func:`check_against`.

    Returns:
        The content of the earlier report.

    Raises:
        InputError: At the first thing that is wrong.
    """
    import_vernier()
    earlier = None if against is None else check_against(against)
    check_folder(folder)
    return earlier


def keep_results(evaluator: Any) -> None:
    """Let the metric of a config keep what a report is made of, in place.

    Args:
        evaluator: ``test_evaluator`` of a config.
    """
    several = isinstance(evaluator, (list, tuple))
    for one in evaluator if several else [evaluator]:
        if str(one['type']).startswith(('Named', 'Vernier')):
            one['keep_results'] = True


def speed_of(
    predict: Callable[[str], Any], image: str, device: str
) -> dict[str, Any]:
    """Measure how long a model takes for an image.

    Args:
        predict: From a file to its detections.
        image: The file.
        device: What it runs on, for the page.

    Returns:
        ``predict_ms``, see :func:`latency_ms`, ``runs`` and ``device``.
    """
    times = latency_ms(lambda: predict(image), _RUNS, 1)
    return dict(predict_ms=times, runs=_RUNS, device=device)


def report_evaluation(
    metric: NamedCocoMetric,
    dataset: BaseDataset,
    folder: str | os.PathLike[str],
    title: str,
    against: Mapping[str, Any] | None = None,
    speed: Mapping[str, Any] | None = None,
) -> Path | None:
    """Write the report of an evaluation, in the main process.

    Args:
        metric: It has kept its results.
        dataset: The data set.
        folder: Where the report goes.
        title: What was evaluated on what.
        against: Content of the report to compare with.
        speed: How long the model takes.

    Returns:
        The page; None in other processes.
    """
    if not is_main_process():
        return None
    found = _analyses(metric, metric.kept, dataset)
    return write_report(found, folder, title, against, speed)


def report_results(
    cfg: Config,
    results: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    against: str | os.PathLike[str] | None = None,
) -> Path:
    """Write the report of a file of detections.

    Args:
        cfg: A config whose data set is filled in.
        results: See :func:`read_results`.
        folder: Where the report goes.
        against: An earlier report, or another file of results on the same
            data set.

    Returns:
        The page.

    Raises:
        InputError: If anything cannot be used.
    """
    import_vernier()
    earlier = None
    if against is not None and not _is_results(against):
        earlier = check_against(against)
    check_folder(folder)
    metric, dataset = data_of(cfg)
    if against is not None and earlier is None:
        others = read_results(against, metric, dataset)
        kinds = {
            one.numbers['kind']: one.numbers
            for one in _analyses(metric, others, dataset)
        }
        earlier = dict(title=Path(against).name, kinds=kinds)
    found = _analyses(metric, read_results(results, metric, dataset), dataset)
    title = f'{Path(results).name} on {len(dataset)} images'
    return write_report(found, folder, title, earlier)


def _is_results(path: str | os.PathLike[str]) -> bool:
    """Whether a file holds detections and not a report."""
    path = Path(path)
    if path.is_dir() or path.name == JSON_FILE or not path.is_file():
        return False
    if path.suffix != '.json':
        return True
    with open(path, 'rb') as file:
        return file.read(64).lstrip().startswith(b'[')


def _analyses(
    metric: NamedCocoMetric, results: list, dataset: BaseDataset
) -> list[Analysis]:
    return [analyse(scene) for scene in scenes_of(metric, results, dataset)]
