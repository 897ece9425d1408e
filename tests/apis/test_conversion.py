"""Names here; the conversions stand in tests/tools and tests/parity."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from rfdetr_mm.apis.conversion import (
    from_rfdetr,
    model_name,
    to_rfdetr,
    upstream_architecture,
)
from rfdetr_mm.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    'variant, name',
    [
        ('nano', 'RFDETRNano'),
        ('small', 'RFDETRSmall'),
        ('medium', 'RFDETRMedium'),
        ('large', 'RFDETRLarge'),
        ('base', 'RFDETRBase'),
        ('large-deprecated', 'RFDETRLargeDeprecated'),
        ('xlarge', 'RFDETRXLarge'),
        ('2xlarge', 'RFDETR2XLarge'),
        ('seg_nano', 'RFDETRSegNano'),
        ('seg_small', 'RFDETRSegSmall'),
        ('seg_medium', 'RFDETRSegMedium'),
        ('seg_large', 'RFDETRSegLarge'),
        ('seg_xlarge', 'RFDETRSegXLarge'),
        ('seg_2xlarge', 'RFDETRSeg2XLarge'),
        ('seg_preview', 'RFDETRSegPreview'),
    ],
)
def test_upstreams_class_is_recognised(variant, name):
    family = 'rfdetr_seg/rfdetr-' if 'seg_' in variant else 'rfdetr/rfdetr_'
    config = Config.fromfile(ROOT / f'configs/{family}{variant}_coco.py')
    architecture = upstream_architecture(config)
    assert model_name(config, architecture) == name


def test_files_of_the_other_side_are_refused():
    config = Config.fromfile(ROOT / 'configs/rfdetr/rfdetr_nano_coco.py')
    theirs = {'model': {'backbone.0.encoder.encoder.x': torch.zeros(1)}}
    with pytest.raises(InputError, match='is an rfdetr file already'):
        to_rfdetr(theirs, config)
    with pytest.raises(InputError, match=r"not an rfdetr file.*\['backbone.x"):
        from_rfdetr({'backbone.x': torch.zeros(1)}, config)
