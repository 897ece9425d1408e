"""Tasks that prepare, and actors with models, as one stream of Ray Data."""

from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rfdetr_mm_light.errors import InputError

from .session import model_cpus, task_cpus

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK_BYTES = 32 << 20  # of prepared images on their way to a model


def wants_gpu(ray: ModuleType, gpu: bool | None) -> bool:
    """Decide whether models run on GPUs.

    Args:
        ray: The package.
        gpu: Whether they must; None: if the cluster has some.

    Returns:
        Whether they do.

    Raises:
        InputError: If they must, and the cluster has none.
    """
    num = int(ray.cluster_resources().get('GPU', 0))
    if gpu and not num:
        raise InputError(
            'the model needs a GPU, and the Ray cluster has none: take '
            '--device cpu, or start Ray on a machine with a GPU'
        )
    return bool(num) if gpu is None else gpu


def num_slots(ray: ModuleType, gpu: bool) -> int:
    """How many models a cluster has room for.

    Args:
        ray: The package.
        gpu: Whether they run on GPUs.

    Returns:
        The number of GPUs or of processors, 1 at least.
    """
    name = 'GPU' if gpu else 'CPU'
    return max(int(ray.cluster_resources().get(name, 1)), 1)


def run_stages(
    ray: ModuleType,
    tables: Iterable['pa.Table'],
    task: Callable[['pa.Table'], Iterator['pa.Table']],
    actor: type,
    actor_args: tuple[Any, ...],
    gpu: bool,
    num_models: int,
) -> Iterator['pa.Table']:
    """Send tables through tasks, and what they give through actors.

    Workers that are killed are replaced by Ray, which repeats their work.

    Args:
        ray: The package.
        tables: What a task gets, each.
        task: A function of a table.
        actor: A class whose objects are called with the tables of the tasks,
            in pieces of any number of rows, and give one.
        actor_args: What it is made with.
        gpu: Whether each of its objects has a GPU.
        num_models: How many objects of it there are.

    Yields:
        What the objects give, in any order.
    """
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = _BLOCK_BYTES
    with ray.data.DataContext.current(context):
        results = (
            ray.data.from_arrow_refs([ray.put(table) for table in tables])
            .map_batches(
                task,
                batch_size=None,
                batch_format='pyarrow',
                num_cpus=task_cpus(gpu),
            )
            .map_batches(
                actor,
                fn_constructor_args=actor_args,
                batch_size=None,
                batch_format='pyarrow',
                compute=ray.data.ActorPoolStrategy(size=num_models),
                num_cpus=model_cpus(gpu, 1),
                num_gpus=int(gpu),
            )
        )
        yield from results.iter_batches(
            batch_size=None, batch_format='pyarrow', prefetch_batches=0
        )
