"""The global random number generators, saved and set."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def random_state(cuda: bool = False) -> dict[str, Any]:
    """Read the generators of Python, numpy and torch.

    Args:
        cuda: Whether to read those of all CUDA devices as well.

    Returns:
        Plain Python values and tensors only, so that any reader of
        checkpoints can load them.
    """
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()
    state = dict(
        python=(version, list(words), gauss),
        numpy=(kind, keys.tolist(), position, has_gauss, cached),
        torch=torch.get_rng_state(),
    )
    if cuda and torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Set the generators to what :func:`random_state` has returned.

    Args:
        state: The state; tensors may lie on any device. CUDA generators are
            set as far as there are as many devices now.
    """
    version, words, gauss = state['python']
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has_gauss, cached = state['numpy']
    np.random.set_state(
        (kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached)
    )
    torch.set_rng_state(state['torch'].cpu())
    if torch.cuda.is_available():
        states = [s.cpu() for s in state.get('cuda', ())]
        for device, value in enumerate(states[: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(value, device)


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Undo what the block draws from Python, numpy and torch on the CPU."""
    python, numpy = random.getstate(), np.random.get_state()
    torch_state = torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(torch_state)


def seed_everything(*numbers: int) -> None:
    """Seed Python, numpy and torch on the CPU from a few numbers.

    Args:
        *numbers: Non-negative integers of any size. Others, or the same in
            another order, give an unrelated stream.
    """
    # The length, because trailing zeros alone make no other sequence.
    source = np.random.SeedSequence((len(numbers), *numbers))
    words = source.generate_state(3, np.uint64)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]) % 2**32)
    torch.random.default_generator.manual_seed(int(words[2]) % 2**63)
