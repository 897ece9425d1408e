"""A connection to Ray: one that is there, or one for this run."""

import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from rfdetr_mm_light.errors import InputError

_OBJECT_STORE_BYTES = 1 << 30
_CONNECT_SECONDS = 10


def import_ray() -> ModuleType:
    """Import Ray, with its reports of usage turned off.

    Raises:
        InputError: If it is not installed.
    """
    # Read when a cluster is started; one that runs has decided it before.
    os.environ['RAY_USAGE_STATS_ENABLED'] = '0'
    # Its C++ part prints notes for its developers otherwise.
    os.environ.setdefault('RAY_BACKEND_LOG_LEVEL', 'fatal')
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError(
            f'--engine ray needs the package ray, which cannot be imported '
            f"({error}): pip install 'rfdetr_mm[scale]'"
        ) from error
    return ray


@contextmanager
def ray_session(address: str | None) -> Iterator[ModuleType]:
    """Connect to Ray.

    A connection that the program has already is used and kept.

    Args:
        address: ``'auto'`` or ``HOST:PORT`` of a cluster; None: Ray is
            started on this machine, and ended afterwards.

    Yields:
        The package ``ray``.

    Raises:
        InputError: If Ray is not installed, or there is no cluster.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = dict(
        address=address, log_to_driver=False, logging_level=logging.ERROR
    )
    if address is None:
        options.update(
            address='local',
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
        )
    else:
        _check_address(address)
    try:
        ray.init(**options)
    except Exception as error:  # a late node is a bare Exception
        raise InputError(_no_cluster(address, error)) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _no_cluster(address: str | None, error: object) -> str:
    text = str(error).strip()
    line = (text.splitlines() or [type(error).__name__])[0]
    if address is None:
        return f'Ray could not be started on this machine: {line}'
    if 'AuthenticationError' in text:
        return (
            f'the Ray cluster at --address {address} wants a token: set '
            'RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to that of the machine '
            'that started it unless ~/.ray/auth_token has it'
        )
    return (
        f'there is no Ray cluster at --address {address}: {line} Start one '
        'by ray start --head, or leave --address out to use this machine '
        'alone'
    )


def _check_address(address: str) -> None:
    """Refuse an address at once where Ray would try for a minute."""
    host, _, port = address.removeprefix('ray://').rpartition(':')
    if address == 'auto':
        return
    if not host or not port.isdigit():
        raise InputError(
            f'--address must be auto or HOST:PORT, but is {address!r}'
        )
    try:
        socket.create_connection(
            (host.strip('[]'), int(port)), _CONNECT_SECONDS
        ).close()
    except (OSError, OverflowError) as error:
        raise InputError(_no_cluster(address, f'{error}.')) from error


def call(ray: ModuleType, function: Callable, *args: Any, gpu: bool) -> Any:
    """Run a function in a worker, as models are.

    Args:
        ray: The package.
        function: The function.
        *args: Its arguments.
        gpu: Whether it needs a GPU.

    Returns:
        What it returns.

    Raises:
        InputError: What it raises, without Ray's traceback before it; and
            OSError and ImportError likewise.
    """
    remote = ray.remote(function).options(
        num_cpus=model_cpus(gpu, 1), num_gpus=int(gpu)
    )
    try:
        return ray.get(remote.remote(*args))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, (InputError, OSError, ImportError)):
            raise error.cause from None
        raise


def model_cpus(gpu: bool, threads: int) -> float:
    """Processors that a model is given, of which Ray counts the sum.

    Args:
        gpu: Whether it runs on a GPU.
        threads: The number of its threads otherwise.

    Returns:
        On a CPU a bit less than its threads, so that there is room for the
        tasks that decode images for it.
    """
    return 1.0 if gpu else threads - task_cpus(gpu)


def task_cpus(gpu: bool) -> float:
    """Processors that a decoding task is given.

    Args:
        gpu: Whether the models run on GPUs, and leave the CPU to the tasks.
    """
    return 1.0 if gpu else 0.25
