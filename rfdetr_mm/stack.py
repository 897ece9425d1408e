"""What differs between the two stacks: OneDL's packages and OpenMMLab's.

Both are imported by the same names, and the rest of the package uses what
both have. Apart from the distributions' names there is only this:

* OneDL's mmdet prints lines when it is imported; ``rfdetr_mm/__init__.py``
  sends them to standard error on either stack.
* mmcv 2.1.0 compiles with torch 2.1, which has no ``fully_shard``
  (ShardedRunner says so), no float16 on a CPU (:func:`autocast`), no fused
  AdamW there (:func:`has_fused_adamw`), and an ONNX export without ``dynamo``;
  litert-torch does not exist for it. Its inductor makes the losses of a
  compiled training NaN (CompileHook says so, and leaves the losses out, whose
  guards fail without objects), and mmengine's ``compile`` option fails in
  its compiler. It cannot tell code that it is compiled either, so that no
  backward passes of our own are taken there (models/autograd/recompute.py).
* mmdet 3.3.0's DINO works with 256 channels only.

The distributions' names are in ``rfdetr_mm_light/stack.py``; what the tests
skip for that is in ``tests/stacks.py``.
"""

import torch
from mmengine.utils import digit_version

TELLS_AUTOCAST_OF_DEVICES = digit_version(torch.__version__) >= digit_version(
    '2.4.0'
)

# Before torch 2.3 nothing that is compiled can tell.
TELLS_COMPILING = hasattr(torch.compiler, 'is_compiling')
is_compiling = getattr(torch.compiler, 'is_compiling', lambda: False)

# 2.1.2 does not; of 2.2 and later, 2.9.1 was tried.
COMPILES_TRAINING = digit_version(torch.__version__) >= digit_version('2.2.0')


def autocast(
    device_type: str, dtype: torch.dtype, **options: bool
) -> torch.autocast:
    """``torch.autocast``, which float32 switches off.

    Torch 2.1 refuses all types but bfloat16 on a CPU, even of a context that
    is not enabled, so none is named then.

    Args:
        device_type: Such as 'cuda'.
        dtype: What operations compute in.
        **options: Arguments of ``torch.autocast``, but ``enabled``.

    Returns:
        The context.
    """
    if dtype == torch.float32:
        return torch.autocast(device_type, enabled=False, **options)
    return torch.autocast(device_type, dtype, **options)


def is_autocast(device_type: str) -> bool:
    """Whether an autocast context is on.

    Args:
        device_type: The device of the context, 'cpu' or 'cuda'.

    Returns:
        Of this thread.
    """
    if TELLS_AUTOCAST_OF_DEVICES:
        return torch.is_autocast_enabled(device_type)
    if device_type == 'cpu':
        return torch.is_autocast_cpu_enabled()
    return torch.is_autocast_enabled()


def has_fused_adamw(device_type: str) -> bool:
    """Whether ``torch.optim.AdamW(fused=True)`` works.

    Args:
        device_type: Where the parameters are, such as 'cpu'.

    Returns:
        Of the installed torch.
    """
    if device_type == 'cpu':
        return digit_version(torch.__version__) >= digit_version('2.4.0')
    return device_type == 'cuda'
