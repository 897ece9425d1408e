"""What detections are worth: the numbers of a report, without its page."""

from .columns import Detections, Objects, Scene
from .summary import Analysis, analyse

__all__ = ['Analysis', 'Detections', 'Objects', 'Scene', 'analyse']
