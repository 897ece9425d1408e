"""Which images an epoch has, registered into ``DATA_SAMPLERS``."""

from .small_data_sampler import SmallDataSampler

__all__ = ['SmallDataSampler']
