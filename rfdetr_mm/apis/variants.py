"""The published sizes of RF-DETR with their configs."""

from dataclasses import astuple

from mmengine.config import Config

from rfdetr_mm.sizes.shipped import PACKAGE, read_shipped
from rfdetr_mm_light.sizes import SIZES, Size

__all__ = ['MODEL_NAME', 'PACKAGE', 'VARIANTS', 'Variant', 'read_shipped']

MODEL_NAME = 'model_name'  # entry of a config: its class of rfdetr


class Variant(Size):
    """One size, see the row of :mod:`rfdetr_mm_light.sizes`."""

    def read_config(self) -> Config:
        """Read the config, see :func:`read_shipped`, and name the class."""
        cfg = read_shipped(self.config)
        cfg[MODEL_NAME] = self.class_name
        return cfg


VARIANTS: dict[str, Variant] = {
    size.class_name: Variant(*astuple(size)) for size in SIZES
}
"""Class name to size."""
