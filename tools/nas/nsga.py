"""A budgeted search: NSGA-II, by optuna."""

from collections.abc import Callable
from types import ModuleType

from front import Measurement

from rfdetr_mm.errors import InputError
from rfdetr_mm.models import SearchSpace, Subnet

MAX_POPULATION = 50
MAX_ASKED = 50  # times the budget: a small space runs out of new points


def _import_optuna() -> ModuleType:
    try:
        import optuna
    except ImportError as error:
        raise InputError(
            '--budget searches with optuna, which is not installed: pip '
            "install 'rfdetr_mm[nas]'; without --budget all sub-networks are "
            'measured'
        ) from error
    return optuna


def choose_points(
    space: SearchSpace,
    measure: Callable[[Subnet], Measurement],
    metric: str,
    budget: int,
    seed: int = 0,
) -> list[Measurement]:
    """Let NSGA-II choose points, for low latency and high accuracy.

    The choice depends on the seed and on what was measured, so that a
    repeated search with the same measurements asks for the same points.

    Args:
        space: What to choose from.
        measure: Measures a nominal point.
        metric: The metric that should be high.
        budget: Different points to measure.
        seed: The seed of the choice.

    Returns:
        The measurements in the order of the choice, each point once.

    Raises:
        InputError: If optuna is not installed.

    Source: Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm:
        NSGA-II" (2002); optuna.samplers.NSGAIISampler.
    """
    optuna = _import_optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.NSGAIISampler(
        population_size=max(4, min(MAX_POPULATION, budget // 5)), seed=seed
    )
    study = optuna.create_study(
        directions=['minimize', 'maximize'], sampler=sampler
    )
    measured: dict[Subnet, Measurement] = {}
    for _ in range(MAX_ASKED * budget):
        if len(measured) >= budget:
            break
        trial = study.ask()
        point = Subnet(
            *(
                values[
                    trial.suggest_categorical(name, list(range(len(values))))
                ]
                for name, values in vars(space).items()
            )
        )
        if point not in measured:
            measured[point] = measure(point)
        found = measured[point]
        if found.metrics is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, [found.latency_ms, found.metrics[metric]])
    return list(measured.values())
