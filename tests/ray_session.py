"""One Ray for all tests, started by the first that needs it."""

import os
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def start():
    """Start a small Ray, as test machines have little memory.

    ``RAY_ADDRESS`` names one that runs already, whose workers then must have
    this folder on their ``PYTHONPATH``.
    """
    from rfdetr_runtime.scale.session import import_ray

    ray = import_ray()
    address = os.environ.get('RAY_ADDRESS')
    options = dict(log_to_driver=False, logging_level='ERROR')
    if address:
        ray.init(address=address, **options)
    else:
        ray.init(
            address='local',
            num_cpus=2,
            object_store_memory=200 << 20,
            include_dashboard=False,
            **options,
        )
    return ray


@pytest.fixture(scope='session')
def ray_here():
    """The package ``ray``, connected."""
    ray = pytest.importorskip('ray')
    if ray.is_initialized():  # by tests of another folder
        yield ray
        return
    with pytest.MonkeyPatch.context() as patch:
        path = [str(TESTS.parent), str(TESTS), os.environ.get('PYTHONPATH')]
        patch.setenv('PYTHONPATH', os.pathsep.join(filter(None, path)))
        start()
        yield ray
        ray.shutdown()
