"""Data sets that are tar files: written, read through an index."""

from .packing import PackedSplit, pack_split
from .reading import is_shard_index, read_shards
from .storage import ShardBackend, is_address

__all__ = [
    'PackedSplit',
    'ShardBackend',
    'is_address',
    'is_shard_index',
    'pack_split',
    'read_shards',
]
