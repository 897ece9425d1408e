"""The shipped configs, cut to a model that answers in a moment."""

from pathlib import Path

from mmengine.config import Config

from rfdetr_mm.sizes.config_facts import set_resolution
from tests.data_factory import CLASSES

CONFIGS = Path(__file__).parents[1] / 'configs'
MAX_PER_IMG = 10


def tiny_config(
    data_root: Path, name: str = 'rfdetr/rfdetr_nano_coco.py'
) -> Config:
    """Nano with 8 queries and two classes.

    Args:
        data_root: Folder of a data set of :func:`.data_factory.write_coco`.
        name: The config, below ``configs``.
    """
    cfg = Config.fromfile(CONFIGS / name)
    side = 72 if 'seg' in name else 64  # px, a multiple of the patch
    set_resolution(cfg, side)
    # Two blocks of a narrow backbone run: the tests are about what is around.
    cfg.model.backbone.update(
        arch='tiny', out_indices=(0, 1), global_attn_indices=(1,)
    )
    cfg.model.neck.in_channels = [192] * 2
    cfg.model.bbox_head.update(num_classes=2, num_queries=8, num_groups=2)
    cfg.model.test_cfg.max_per_img = MAX_PER_IMG
    dataset = cfg.test_dataloader.dataset
    dataset.update(
        data_root=str(data_root),
        ann_file='annotations.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=CLASSES),
    )
    return cfg
