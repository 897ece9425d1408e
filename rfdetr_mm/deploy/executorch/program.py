"""The program that ExecuTorch lowers: the graph as it is."""

from ..program import register_program
from .names import BACKEND_NAME

register_program(BACKEND_NAME, 'ExecuTorch')
