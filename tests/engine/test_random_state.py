"""The generators of Python, numpy and torch: saved, kept, seeded."""

import io
import random

import numpy as np
import torch

from rfdetr_mm.checkpoints import read_checkpoint
from rfdetr_mm.engine.random_state import (
    kept_random_state,
    random_state,
    seed_everything,
    set_random_state,
)


def draws():
    return [
        random.random(),
        random.gauss(0, 1),
        float(np.random.rand()),
        float(np.random.randn()),
        *torch.rand(2).tolist(),
        *torch.randn(3).tolist(),
    ]


def test_a_saved_state_draws_the_same_again(tmp_path):
    draws()  # an odd number of normal draws leaves one in store
    file = tmp_path / 'state.pth'
    torch.save(dict(state=random_state(cuda=True)), file)
    expected = draws()
    assert draws() != expected
    set_random_state(read_checkpoint(file)['state'])
    assert draws() == expected


def test_plain_values_only():
    buffer = io.BytesIO()
    torch.save(random_state(), buffer)
    buffer.seek(0)
    torch.load(buffer, weights_only=True)


def test_kept_state():
    state = random_state()
    expected = draws()
    set_random_state(state)
    try:
        with kept_random_state():
            draws()
            raise KeyError
    except KeyError:
        pass
    assert draws() == expected


def test_seeds_are_addresses():
    seen = []
    for address in [(0,), (1,), (0, 1), (1, 0), (0, 1, 0), (2**40, 5)]:
        seed_everything(*address)
        first = draws()
        seed_everything(*address)
        assert draws() == first
        seen += first
    assert len(set(seen)) == len(seen)
