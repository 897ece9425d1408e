"""Core ML for mmdeploy, by current coremltools.

mmdeploy 1.3.1 has a backend of this name for TorchScript and its old
``mlmodel`` files. What is registered here converts a program of
``torch.export`` to an ML package, on any machine; only Apple's run it.
"""

from . import manager, program

__all__ = ['manager', 'program']
