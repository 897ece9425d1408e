"""The options of configs/rfdetr/README.md name what they say they name."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).parents[2] / 'configs'
CONFIGS = sorted(
    path
    for folder in ('rfdetr', 'rfdetr_seg')
    for path in (ROOT / folder).glob('*.py')
    if path.stem.endswith(('_coco', '_custom'))
    # A published size; the smallest one has 16 queries for 100 detections.
    and not path.stem.startswith('rfdetr_tiny')
    # They name their sizes in the file, as the README says.
    and not path.stem.endswith(('multi-scale_coco', 'keep-ratio_coco'))
)


def keys_of(heading: str) -> list[str]:
    """Keys of the options in the first block below a heading."""
    text = (ROOT / 'rfdetr' / 'README.md').read_text()
    block = text.split(f'### {heading}\n')[1].split('```')[1]
    keys = re.findall(r'([\w.]+\.[\w.]+)=', block)
    return [key for key in keys if not key.startswith('data_root')]


def value_of(cfg: Config, key: str):
    node = cfg
    for part in key.split('.'):
        node = node[int(part) if part.isdigit() else part]
    return node


def test_image_size():
    """What resolution sets is tested in tests/sizes for every config."""
    text = (ROOT / 'rfdetr' / 'README.md').read_text()
    block = text.split('### Another image size\n')[1].split('```')[1]
    assert 'resolution=512' in block and 'scale' not in block


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_crowded_images(path):
    keys = keys_of('Crowded images')
    queries, found, *evaluations = (
        value_of(Config.fromfile(path), key) for key in keys
    )
    assert queries == found
    assert evaluations == ['NamedCocoMetric', (1, 10, 100)] * 2
