import numpy as np
import pytest
import torch

from rfdetr_mm.apis.arguments import (
    check_patch_size,
    floating_dtype,
    input_shape,
    training_device,
)
from rfdetr_mm.apis.model_config import make_model_config
from rfdetr_mm.errors import InputError
from rfdetr_mm_light.sizes import SIZES

CONFIG = make_model_config(SIZES['RFDETRNano'], {})  # blocks of 32 px


def test_shapes():
    assert input_shape(None, CONFIG) == (384, 384)
    assert input_shape((64, 96), CONFIG) == (64, 96)
    shape = input_shape([np.int64(64), 96], CONFIG)
    assert shape == (64, 96) and type(shape[0]) is int
    assert input_shape(np.array([64, 96], np.uint8), CONFIG) == (64, 96)


@pytest.mark.parametrize(
    'shape, message',
    [
        (384, 'two positive integers'),
        ((384,), 'two positive integers'),
        ((384, 384, 3), 'two positive integers'),
        ('64', 'integers'),
        ((64.0, 64), 'neither bool nor float'),
        ((64, True), 'neither bool nor float'),
        ((0, 64), 'positive'),
        ((64, -32), 'positive'),
        (np.array([64.0, 96.0]), 'neither bool nor float'),
        (np.array([[64, 96]]), 'two positive integers'),
        (np.array(64), 'two positive integers'),
        ((64, 100), r'= 16 \* 2 = 32 px on both sides, .* got 64 x 100'),
    ],
)
def test_bad_shapes(shape, message):
    with pytest.raises(InputError, match=message):
        input_shape(shape, CONFIG)


def test_patch_size():
    check_patch_size(None, CONFIG)
    check_patch_size(16, CONFIG)
    for bad in (0, -16, 16.0, True, '16'):
        with pytest.raises(InputError, match='positive integer'):
            check_patch_size(bad, CONFIG)
    with pytest.raises(InputError, match="not the model's, which is 16"):
        check_patch_size(14, CONFIG)


def test_dtypes():
    assert floating_dtype('float16') == floating_dtype(torch.float16)
    for bad in ('float17', 'nn', 16, None, np.float32):
        with pytest.raises(TypeError, match='torch.dtype'):
            floating_dtype(bad)
    with pytest.raises(InputError, match='floating point, got torch.int8'):
        floating_dtype('int8')


def test_devices_of_a_training():
    assert training_device(None, 'cpu') == 'cpu'
    assert training_device(torch.device('cpu'), 'cuda') == 'cpu'
    with pytest.warns(UserWarning, match='not one for training; cpu is'):
        assert training_device('meta', 'cpu') == 'cpu'
    with pytest.raises(InputError, match='is not a device'):
        training_device('gpu7', 'cpu')
    with pytest.raises(InputError, match='torch sees'):
        training_device('cuda:99', 'cpu')
