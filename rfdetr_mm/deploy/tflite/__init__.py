"""TFLite (LiteRT) as a backend of mmdeploy, which has none.

PyTorch is converted directly, by litert-torch: the file that mmdeploy calls
the TorchScript of a model holds a program of ``torch.export`` here.
"""

from . import grid_sample, manager, program, wrapper

__all__ = ['grid_sample', 'manager', 'program', 'wrapper']
