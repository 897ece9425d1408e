"""Batches of any size for files of one."""

import numpy as np
import pytest

from rfdetr_mm.errors import InputError
from rfdetr_runtime.sessions.session import Session


class Summing(Session):
    """Gives the first value of each image, in memory that it uses again."""

    def __init__(self, shape):
        self.file, self.input_shape = 'a.file', shape
        self.sizes, self.memory = [], np.zeros((64, 1), np.float32)

    def _run(self, images):
        self.sizes.append(len(images))
        self.memory[: len(images)] = images[:, 0, 0, :1]
        return {'sum': self.memory[: len(images)]}


@pytest.mark.parametrize('batch_size', [1, 2, 3, 5])
@pytest.mark.parametrize('num_images', [1, 3, 4])
def test_every_image_once_in_order(batch_size, num_images):
    session = Summing((batch_size, 2, 3, 1))
    images = np.arange(num_images, dtype=np.float32)
    images = images.reshape(-1, 1, 1, 1) * np.ones((1, 2, 3, 1), np.float32)
    outputs = session.run(images)
    assert outputs['sum'].ravel().tolist() == list(range(num_images))
    assert set(session.sizes) == {batch_size}


def test_dynamic_batch_runs_at_once():
    session = Summing((None, 3, 2, 5))
    assert len(session.run(np.zeros((4, 3, 2, 5)))['sum']) == 4
    assert session.sizes == [4]


def test_a_batch_between_two_limits():
    """As TensorRT's engines have it."""
    session = Summing((None, 3, 2, 5))
    type(session).batch_sizes = property(lambda self: (2, 4))
    assert len(session.run(np.zeros((9, 3, 2, 5)))['sum']) == 9
    assert session.sizes == [4, 4, 2]
    del type(session).batch_sizes


def test_another_size_is_refused():
    session = Summing((1, 3, 2, 5))
    message = r'a.file takes.*\(3, 2, 5\).*\(3, 5, 2\)'
    with pytest.raises(InputError, match=message):
        session.run(np.zeros((1, 3, 5, 2)))
    assert session.sizes == []
