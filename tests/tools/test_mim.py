"""The installed package: its wheel, look-ups by name, mim's commands."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.data_factory import write_coco

ROOT = Path(__file__).parents[2]
SOURCES = [
    'LICENSE',
    'MANIFEST.in',
    'README.md',
    'configs',
    'model-index.yml',
    'pyproject.toml',
    'rfdetr_mm',
    'setup.py',
    'tools',
]
LEFTOVERS = {'build', 'rfdetr_mm.egg-info'}  # ignored by git
TINY = (
    """
load_from=None train_cfg.max_epochs=1 default_hooks.checkpoint.save_best=None
resolution=64 model.bbox_head.num_queries=8
model.bbox_head.num_groups=2 model.test_cfg.max_per_img=10
train_dataloader.num_workers=0 train_dataloader.persistent_workers=False
""".split()
    + [
        f'{split}_dataloader.{option}'
        for split in ('val', 'test')
        for option in (
            'num_workers=0',
            'persistent_workers=False',
        )
    ]
)
LOOK_UPS = """
import json
import rfdetr_mm
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DefaultScope, MODELS, VISUALIZERS

small = get_config('rfdetr_mm::rfdetr/rfdetr_small_coco.py', pretrained=True)
mine = Config.fromfile('mine.py')
with DefaultScope.overwrite_default_scope('mmdet'), torch.device('meta'):
    built = [MODELS.build(mine.model), VISUALIZERS.build(mine.visualizer)]
found = [rfdetr_mm.__file__, small.filename, small.model_path]
print(json.dumps(found + [type(b).__name__ for b in built]))
"""


def run(*command, cwd, path='', **options):
    """Run Python with nothing but ``path`` on PYTHONPATH."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env={**os.environ, 'PYTHONPATH': str(path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def copy_sources(folder):
    unwanted = shutil.ignore_patterns('.mim', '__pycache__')
    folder.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, folder)
        else:
            shutil.copytree(ROOT / name, folder / name, ignore=unwanted)
    return folder


def files_below(folder):
    return {
        str(path.relative_to(folder))
        for path in folder.rglob('*')
        if path.is_file()
    }


def build(kind, tree, out):
    """Ask the build backend for a wheel, sdist or editable; return it."""
    out.mkdir()
    code = (
        'import sys; from setuptools import build_meta; '
        f'build_meta.build_{kind}(sys.argv[1])'
    )
    run('-c', code, out, cwd=tree)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
    return copy_sources(tmp_path_factory.mktemp('sources') / 'tree')


@pytest.fixture(scope='module')
def wheel(tree):
    return build('wheel', tree, tree.with_name('wheel'))


@pytest.fixture(scope='module')
def target(wheel, tmp_path_factory):
    """A folder with the installed package, as pip leaves it."""
    folder = tmp_path_factory.mktemp('installed') / 'packages'
    options = '-q --no-deps --no-index --disable-pip-version-check'.split()
    run(
        *('-m', 'pip', 'install', *options, '--target', folder, wheel),
        cwd=folder.parent,
    )
    return folder


def test_the_wheel_carries_what_mim_looks_for(tree, wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {
            name.removeprefix('rfdetr_mm/.mim/')
            for name in archive.namelist()
            if name.startswith('rfdetr_mm/.mim/')
        }
        index = archive.read('rfdetr_mm/.mim/model-index.yml')
    expected = {
        name
        for name in files_below(tree)
        if name.startswith(('configs/', 'tools/'))
        and not name.startswith('tools/dev/')
        and '__pycache__' not in name
    }
    assert 'tools/train.py' in expected
    assert packed == expected | {'model-index.yml'}
    assert index == (ROOT / 'model-index.yml').read_bytes()


def test_a_build_leaves_nothing_that_git_would_see(tree, wheel):
    assert {path.name for path in tree.iterdir()} - set(SOURCES) <= LEFTOVERS
    assert not (tree / 'rfdetr_mm' / '.mim').exists()
    ignored = (ROOT / '.gitignore').read_text().split()
    assert {'/build/', '*.egg-info/', '/rfdetr_mm/.mim/'} <= set(ignored)


def test_a_source_distribution_builds_the_same_wheel(tree, wheel, tmp_path):
    sdist = build('sdist', tree, tmp_path / 'sdist')
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter='data')
    (folder,) = tmp_path.glob('rfdetr_mm-*')
    again = build('wheel', folder, tmp_path / 'wheel')
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as two:
        assert sorted(one.namelist()) == sorted(two.namelist())


def test_an_editable_installation_gets_links(tmp_path):
    tree = copy_sources(tmp_path / 'tree')
    build('editable', tree, tmp_path / 'editable')
    mim = tree / 'rfdetr_mm' / '.mim'
    assert {p.name: p.resolve() for p in mim.iterdir()} == {
        name: (tree / name).resolve()
        for name in ('configs', 'tools', 'model-index.yml')
    }
    assert all(not os.path.isabs(os.readlink(p)) for p in mim.iterdir())


def test_links_replace_copies_of_an_older_build(tmp_path):
    tree = copy_sources(tmp_path / 'tree')
    old = tree / 'rfdetr_mm' / '.mim' / 'configs'
    old.mkdir(parents=True)
    (old / 'old.py').touch()
    for _ in range(2):
        run('setup.py', '-q', 'link_mim', cwd=tree)
        assert old.resolve() == (tree / 'configs').resolve()
    assert not (tree / 'configs' / 'old.py').exists()


def test_configs_by_name(target, tmp_path):
    (tmp_path / 'mine.py').write_text(
        "_base_ = 'rfdetr_mm::rfdetr/rfdetr_nano_coco.py'\n"
    )
    output = run('-c', LOOK_UPS, cwd=tmp_path, path=target)
    package = target / 'rfdetr_mm'
    (found,) = (
        json.loads(line) for line in output.splitlines() if line[:2] == '["'
    )
    assert found == [
        str(package / '__init__.py'),
        str(package / '.mim/configs/rfdetr/rfdetr_small_coco.py'),
        'rfdetr://rf-detr-small.pth',
        'RFDETR',
        'DetLocalVisualizer',
    ]


@pytest.fixture(scope='module')
def mim(target, tmp_path_factory):
    """Run a command of mim in a folder with a data set."""
    pytest.importorskip('mim', reason='onedl-mim is not installed')
    folder = tmp_path_factory.mktemp('mim')
    data = write_coco(
        folder / 'data', [(60, 90), (90, 60), (50, 70), (64, 64)], empty=(2,)
    )
    shutil.copy(data / 'annotations.json', data / 'train.json')
    (data / 'annotations.json').rename(data / 'val.json')

    def command(*arguments):
        return run('-m', 'mim', *arguments, cwd=folder, path=target)

    yield command
    shutil.rmtree(folder)  # checkpoints of 0.4 GB


def test_mim_search(mim, tmp_path):
    mim('search', 'rfdetr_mm', '--json', tmp_path / 'models.json')
    columns = json.loads((tmp_path / 'models.json').read_text())
    assert len(columns['weight']) == 15  # eight, and seven with masks
    nano = {
        name: column['rfdetr_nano_coco'] for name, column in columns.items()
    }
    assert nano['coco/box_ap'] == 48.4
    assert 'not run here' in nano['results_from']
    assert nano['weight'] == 'rfdetr://rf-detr-nano.pth'


@pytest.fixture(scope='module')
def trained(mim):
    """What mim said while it trained."""
    return mim(
        *('train', 'rfdetr_mm', 'rfdetr_nano_custom.py'),
        *('--launcher', 'none', '--work-dir', 'work', '--cfg-options'),
        *('data_root=data', *TINY),
    )


def test_mim_train(trained, target):
    assert 'Training finished successfully' in trained
    assert 'Epoch(train) [1][1/1]' in trained
    assert str(target) in trained and str(ROOT / 'tools') not in trained


@pytest.mark.slow
def test_mim_test(mim, trained):
    tested = mim(
        *('test', 'rfdetr_mm', 'work/rfdetr_nano_custom.py'),
        *('--launcher', 'none', '--checkpoint', 'work/epoch_1.pth'),
    )
    assert 'Testing finished successfully' in tested
    assert 'coco/bbox_mAP' in tested
