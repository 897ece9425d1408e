"""Three descriptions of the variants: configs, metafile and README."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.fileio import load

from rfdetr_mm.checkpoints import PUBLISHED_FILES

ROOT = Path(__file__).parents[2]
FOLDERS = [
    ROOT / 'configs' / name for name in ('rfdetr', 'rfdetr_seg', 'rfdetr_pose')
]
READMES = {folder: (folder / 'README.md').read_text() for folder in FOLDERS}
MODELS = {
    model['Name']: (folder, model)
    for folder in FOLDERS
    for model in load(folder / 'metafile.yml')['Models']
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
        ap=''.join(str(ap) for ap in result.get('Metrics', {}).values()),
    )


def models_of(folder):
    return {n: model for n, (f, model) in MODELS.items() if f == folder}


@pytest.mark.parametrize(
    'folder, count, what',
    zip(FOLDERS, (8, 7, 1), ('box', 'mask', 'keypoint')),
    ids=['boxes', 'masks', 'keypoints'],
)
def test_the_readme_has_the_numbers_of_the_metafile(folder, count, what):
    rows = [match.groupdict() for match in ROW.finditer(READMES[folder])]
    assert len(rows) == count
    assert rows == [described(model) for model in models_of(folder).values()]
    metrics = {
        name
        for model in models_of(folder).values()
        for result in model.get('Results', ())
        for name in result['Metrics']
    }
    assert metrics == {f'{what} AP'}


@pytest.mark.parametrize('folder', FOLDERS, ids=lambda f: f.name)
def test_every_model_of_coco_and_no_other_is_listed(folder):
    variants = {path.stem for path in folder.glob('*_custom.py')}
    variants.discard('rfdetr_tiny_custom')  # no model of COCO
    names = models_of(folder)
    assert {name.replace('_coco', '_custom') for name in names} == variants


@pytest.mark.parametrize('name', MODELS)
def test_entries_fit_configs_and_published_files(name):
    folder, model = MODELS[name]
    path = ROOT / model['Config']
    assert path == folder / f'{name}.py'
    cfg = Config.fromfile(path)
    assert model['Metadata']['Image Size (px)'] == cfg.image_size
    assert model['Weights'].startswith('rfdetr://')
    file = PUBLISHED_FILES[model['Weights'].removeprefix('rfdetr://')]
    assert model['Metadata']['Licence Of Weights'] == file.licence
    custom = Config.fromfile(folder / name.replace('_coco', '_custom.py'))
    assert custom.load_from == model['Weights']


def test_names_are_found_in_one_way():
    names = [
        name for _, m in MODELS.values() for name in (m['Name'], *m['Alias'])
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
    assert len(index.collections) == len(FOLDERS)
    notes = {c.metadata.data['Results From'] for c in index.collections}
    (note,) = notes
    assert 'upstream' in note and 'not run here' in note
    for model in index.models:
        assert model.full_model.metadata.data['Results From'] == note


@pytest.mark.parametrize(
    'path',
    [path for folder in FOLDERS for path in sorted(folder.glob('*.py'))],
    ids=lambda p: p.stem,
)
def test_the_readme_names_every_config(path):
    family = path.stem.partition('_')[0]
    if f'{path.stem.removesuffix("_custom")}_coco' in MODELS:
        assert f'`{family}_{{variant}}_custom.py`' in READMES[path.parent]
    else:
        assert f'](./{path.name})' in READMES[path.parent]


@pytest.mark.parametrize('folder', FOLDERS, ids=lambda f: f.name)
def test_the_readme_leads_nowhere_else(folder):
    readme = READMES[folder]
    links = re.findall(r'\]\((?!https?://|#)([^)#]+)', readme)
    assert len(links) > 5
    assert [link for link in links if not (folder / link).exists()] == []
