"""The one table of sizes agrees with the configs, and nothing repeats it."""

import ast
from pathlib import Path

import pytest
from mmengine.fileio import load

from rfdetr_mm.apis.model_config import make_model_config
from rfdetr_mm.checkpoints import PUBLISHED_FILES, SHIPPED_FILES
from rfdetr_mm.sizes.identify import CHANGEABLE, FIXED
from rfdetr_mm.sizes.shipped import read_config_of
from rfdetr_mm_light.sizes import KEYPOINTS, SEGMENTATION, SIZES

ROOT = Path(__file__).parents[2]
MODULES = [
    path
    for room in ('rfdetr_mm', 'rfdetr_mm_light')
    for path in sorted((ROOT / room).rglob('*.py'))
    if '.mim' not in path.parts
]
ENTRIES = {
    model['Weights'].removeprefix('rfdetr://'): model
    for path in (ROOT / 'configs').glob('*/metafile.yml')
    for model in load(path)['Models']
}


def test_short_names():
    names = [size.short_name for size in SIZES.values()]
    assert len(set(names)) == len(SIZES)
    assert names[:2] == ['nano', 'small'] and 'seg-2xlarge' in names
    assert 'large-deprecated' in names


def test_upstreams_names():
    names = {size.class_name: size.size for size in SIZES.values()}
    assert names['RFDETRSeg2XLarge'] == 'rfdetr-seg-2xlarge'
    assert names['RFDETRLargeDeprecated'] == names['RFDETRLarge']
    assert len(set(names.values())) == len(SIZES) - 1


def test_weights_are_published_or_shipped():
    for size in SIZES.values():
        files = SHIPPED_FILES if size.is_shipped else PUBLISHED_FILES
        assert size.weights in files
    assert [s.short_name for s in SIZES.values() if s.is_shipped] == ['tiny']


@pytest.mark.parametrize('name', SIZES)
def test_a_row_has_the_numbers_of_its_config(name):
    size = SIZES[name]
    config = make_model_config(size, {})
    for field in (*FIXED, *CHANGEABLE):
        assert getattr(config, field) == getattr(size, field), field
    assert config.resolution == size.image_px
    assert config.segmentation_head == (size.task is SEGMENTATION)
    assert config.use_grouppose_keypoints == (size.task is KEYPOINTS)
    cfg = read_config_of(size)
    assert cfg.model.bbox_head.type == size.task.head
    assert cfg.load_from == f'rfdetr://{size.weights}'


@pytest.mark.parametrize('name', SIZES)
def test_the_model_index_has_the_numbers_of_a_row(name):
    size = SIZES[name]
    entry = ENTRIES.get(size.weights)
    if entry is None:
        assert size.is_shipped
        return
    about = entry['Metadata']
    assert about['Image Size (px)'] == size.image_px
    assert about['Parameters (M)'] == size.parameters_m
    assert about['Licence Of Weights'] == size.licence
    assert (
        f'configs/{size.config}'.replace('custom', 'coco') == (entry['Config'])
    )


def names_in(path):
    """Identifiers and whole texts of a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant):
            yield node.value
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.alias):
            yield node.name.rpartition('.')[2]


def test_no_other_module_lists_sizes():
    """A new size is a row and a config: no module names one by itself."""
    # DINOv2 and COCO's objects have sizes of these names, too.
    others = {'tiny', 'small', 'base', 'medium', 'large'}
    forbidden = {
        name
        for size in SIZES.values()
        for name in (
            *(size.class_name, size.short_name, size.size, size.config),
            *(size.word, size.weights, *size.aliases),
        )
        if name not in others
    }
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in MODULES
        for name in names_in(path)
        if isinstance(name, str) and name in forbidden
    }
    assert found == set()
