"""The program that coremltools converts: the graph as it is."""

from mmdeploy.utils import Backend

from ..program import register_program

register_program(Backend.COREML.value, 'Core ML')
