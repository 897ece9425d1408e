"""Prediction of any number of images on Ray, on one machine or many."""

from .models import FileLoader
from .prediction import Predicted, predict_on_ray

__all__ = ['FileLoader', 'Predicted', 'predict_on_ray']
