"""ncnn for mmdeploy, by pnnx.

mmdeploy 1.3.1 has a backend of this name, whose converter and operators are to
be compiled. What is registered here converts PyTorch directly, by packages of
PyPI: the file that mmdeploy calls the TorchScript of a model holds two graphs
in TorchScript.
"""

from . import manager, program, wrapper
from .rewriters import remove_rewriters

remove_rewriters()

__all__ = ['manager', 'program', 'wrapper']
