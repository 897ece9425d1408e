"""ExecuTorch as a backend of mmdeploy, which has none."""

from . import manager, program, wrapper

__all__ = ['manager', 'program', 'wrapper']
