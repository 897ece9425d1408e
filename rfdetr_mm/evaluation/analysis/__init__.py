"""What detections are worth: the numbers of a report, without its page."""

from .columns import Detections, Objects, Scene
from .summary import Analysis, analyse, sweep_of

__all__ = ['Analysis', 'Detections', 'Objects', 'Scene', 'analyse', 'sweep_of']
