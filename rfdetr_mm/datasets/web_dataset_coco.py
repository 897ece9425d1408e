"""Data sets in shards, by the name that configs give them."""

from typing import Any

from mmdet.registry import DATASETS

from rfdetr_mm.errors import InputError

from .named_coco import NamedCocoDataset
from .shards.shard_index import SUFFIX


@DATASETS.register_module()
class WebDatasetCoco(NamedCocoDataset):
    """A split in WebDataset tar files, with an order and random access.

    The data set is an ordinary one with a length: samplers, wrappers,
    shuffling and resuming are those of loose files, and so are all checks.
    An image is read by one call from its place in the tar file, and compared
    with its checksum. ``NamedCocoDataset`` reads an index as well; this class
    refuses anything else.

    Args:
        ann_file: ``SPLIT-index.json``, as ``rfdetr-mm pack`` and rfdetr
            1.11.2 write it, below ``data_root``.
        **kwargs: Arguments as for :class:`NamedCocoDataset`.

    Raises:
        InputError: If ``ann_file`` is not an index, or as for
            :class:`NamedCocoDataset`.
    """

    def __init__(self, *args: Any, ann_file: str = '', **kwargs: Any) -> None:
        if not ann_file.endswith(SUFFIX):
            raise InputError(
                'ann_file of a WebDatasetCoco must be the index of a split, '
                f'SPLIT{SUFFIX}, but is {ann_file!r}. rfdetr-mm pack DATASET '
                '--out DIR writes it; annotation files of COCO belong to '
                'NamedCocoDataset.'
            )
        kwargs.setdefault('data_prefix', dict(img=''))  # mmdet's lacks img
        super().__init__(*args, ann_file=ann_file, **kwargs)
