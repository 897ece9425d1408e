"""Batches of any size for files of one."""

import numpy as np
import pytest

from rfdetr_mm.deploy.fixed_size_file import choose_outputs, run_in_parts
from rfdetr_mm.errors import InputError


@pytest.mark.parametrize('batch_size', [1, 2, 3, 5])
@pytest.mark.parametrize('num_images', [1, 3, 4])
def test_every_image_once_in_order(batch_size, num_images):
    sizes = []
    memory = np.zeros((batch_size, 1))  # a runtime's own, used again

    def run(images):
        sizes.append(len(images))
        memory[:] = images[:, 0, 0, :1]
        return {'sum': memory}

    images = np.arange(num_images, dtype=np.float32)
    images = images.reshape(-1, 1, 1, 1) * np.ones((1, 2, 3, 1))
    outputs = run_in_parts(run, images, (batch_size, 2, 3, 1), 'a.file')
    assert outputs['sum'].ravel().tolist() == list(range(num_images))
    assert set(sizes) == {batch_size}


def test_dynamic_batch_runs_at_once():
    images = np.zeros((4, 3, 2, 5))
    sizes = []

    def run(part):
        sizes.append(len(part))
        return {'x': part}

    outputs = run_in_parts(run, images, (None, 3, 2, 5), 'a')
    assert len(outputs['x']) == 4
    assert sizes == [4]


def test_another_size_is_refused():
    with pytest.raises(InputError, match=r'a.file takes.*\(3, 2, 5\).*\(3, 5'):
        run_in_parts(dict, np.zeros((1, 3, 5, 2)), (1, 3, 2, 5), 'a.file')


@pytest.mark.parametrize(
    'wanted, expected',
    [
        (None, ['dets', 'labels']),
        (['labels', 'dets'], ['labels', 'dets']),
        (['labels'], ['labels']),
    ],
)
def test_outputs_in_the_wanted_order(wanted, expected):
    assert choose_outputs('a.xml', ['dets', 'labels'], wanted) == expected


def test_an_output_that_the_file_lacks():
    message = r"a\.xml has the outputs .*wanted are \['masks'\]"
    with pytest.raises(InputError, match=message):
        choose_outputs('a.xml', ['dets', 'labels'], ['masks'])
