"""What the processor has units for."""

import warnings
from pathlib import Path

import torch

CPU_FACTS = Path('/proc/cpuinfo')
# Of x86 (AVX-512 and AMX) and of ARM, as Linux names them.
BF16_UNITS = {'avx512_bf16', 'amx_bf16', 'bf16'}


def has_bf16_units() -> bool | None:
    """Whether the processor has units for products in bfloat16.

    Returns:
        None where the system does not say, which is so on all but Linux.
    """
    if not CPU_FACTS.is_file():
        return None
    words = CPU_FACTS.read_text().split()
    return not BF16_UNITS.isdisjoint(words)


def usable_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """Take float32 where bfloat16 would only be imitated.

    Without units for it, a processor converts every product's operands, which
    is slower than float32 and less exact.

    Args:
        dtype: The dtype that is wanted.
        device: The device that computes.

    Returns:
        The dtype; float32, with a warning, for bfloat16 on a CPU that is
        known to have no units for it.
    """
    is_imitated = dtype == torch.bfloat16 and device.type == 'cpu'
    if not is_imitated or has_bf16_units() is not False:
        return dtype
    warnings.warn(
        'This processor has no units for bfloat16 (AVX-512 BF16, AMX or '
        "ARM's), so that float32 is faster: dtype float32 is taken.",
        stacklevel=3,
    )
    return torch.float32
