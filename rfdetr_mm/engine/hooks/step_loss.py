"""The loss of a training step, as hooks get it."""

from typing import Any

import torch


def step_loss(outputs: dict[str, Any] | None) -> float | None:
    """Read the loss of a step.

    Args:
        outputs: The losses of the step, tensors or numbers; their sum is
            ``loss``.

    Returns:
        The sum as a number; None where the step tells none.
    """
    loss = (outputs or {}).get('loss')
    return None if loss is None else float(torch.as_tensor(loss).detach())
