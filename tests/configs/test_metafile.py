"""Three descriptions of the variants: configs, metafile and README."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.fileio import load

from rfdetr_mm.checkpoints import PUBLISHED_FILES

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / 'configs' / 'rfdetr'
README = (FOLDER / 'README.md').read_text()
MODELS = {
    model['Name']: model for model in load(FOLDER / 'metafile.yml')['Models']
}
ROW = re.compile(
    r'\| \[\w+\]\(\./(?P<name>\S+)\.py\)[^|]*\| (?P<size>\d+) '
    r'\| (?P<params>[\d.]+) \| `(?P<file>\S+)` \| (?P<licence>\S+) '
    r'\| (?P<ap>[\d.]*) ?\|'
)


def described(model):
    """The README's row as the metafile has it."""
    (result,) = model.get('Results', [{}])
    return dict(
        name=model['Name'],
        size=str(model['Metadata']['Image Size (px)']),
        params=f'{model["Metadata"]["Parameters (M)"]:.2f}',
        file=model['Weights'].removeprefix('rfdetr://'),
        licence=model['Metadata']['Licence Of Weights'],
        ap=str(result.get('Metrics', {}).get('box AP', '')),
    )


def test_the_readme_has_the_numbers_of_the_metafile():
    rows = [match.groupdict() for match in ROW.finditer(README)]
    assert len(rows) == 8
    assert rows == [described(model) for model in MODELS.values()]


def test_every_model_of_coco_and_no_other_is_listed():
    variants = {path.stem for path in FOLDER.glob('rfdetr_*_custom.py')}
    assert {name.replace('_coco', '_custom') for name in MODELS} == variants


@pytest.mark.parametrize('name', MODELS)
def test_entries_fit_configs_and_published_files(name):
    model = MODELS[name]
    path = ROOT / model['Config']
    assert path == FOLDER / f'{name}.py'
    cfg = Config.fromfile(path)
    assert model['Metadata']['Image Size (px)'] == cfg.image_size
    assert model['Weights'].startswith('rfdetr://')
    file = PUBLISHED_FILES[model['Weights'].removeprefix('rfdetr://')]
    assert model['Metadata']['Licence Of Weights'] == file.licence
    custom = Config.fromfile(FOLDER / name.replace('_coco', '_custom.py'))
    assert custom.load_from == model['Weights']


def test_names_are_found_in_one_way():
    names = [
        name for m in MODELS.values() for name in (m['Name'], *m['Alias'])
    ]
    # mmengine compares them in lower case.
    assert len(names) == len({name.lower() for name in names})
    assert all(name == name.lower() for name in names)


def test_the_index_follows_its_scheme():
    modelindex = pytest.importorskip('modelindex')
    index = modelindex.load(str(ROOT / 'model-index.yml'))
    index.check(silent=True)
    parts = [index, *index.models, *index.collections]
    assert not [str(e) for part in parts for e in part.check_errors]
    (collection,) = index.collections
    note = collection.metadata.data['Results From']
    assert 'upstream' in note and 'not run here' in note
    for model in index.models:
        assert model.full_model.metadata.data['Results From'] == note


@pytest.mark.parametrize(
    'path', sorted(FOLDER.glob('*.py')), ids=lambda p: p.stem
)
def test_the_readme_names_every_config(path):
    variant = re.fullmatch(r'rfdetr_(.+)_custom', path.stem)
    if variant and f'rfdetr_{variant[1]}_coco' in MODELS:
        assert '`rfdetr_{variant}_custom.py`' in README
    else:
        assert f'](./{path.name})' in README


def test_the_readme_leads_nowhere_else():
    links = re.findall(r'\]\((?!https?://|#)([^)#]+)', README)
    assert len(links) > 8
    assert [link for link in links if not (FOLDER / link).exists()] == []
