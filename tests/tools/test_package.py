"""The wheel and the source distribution, built as pip builds them."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from built_package import (
    ROOT,
    SOURCES,
    build,
    build_wheel,
    copy_sources,
    run,
)

sys.path.insert(0, str(ROOT / 'tools' / 'dev'))
import check_package  # noqa: E402

LEFTOVERS = {'build', 'rfdetr_mm.egg-info'}  # ignored by git


@pytest.fixture(scope='module')
def sdist(tree):
    return build('sdist', tree, tree.with_name('sdist'))


def test_the_wheel_holds_what_it_must(tree, wheel):
    assert check_package.wheel_complaints(wheel, tree) == []
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for folder in ('rfdetr_mm/.mim', '+rfdetr_mm/.mim'):
        assert f'{folder}/tools/train.py' in names
        assert f'{folder}/benchmarks/benchmark.py' in names
        assert f'{folder}/demo/tiny_shapes.py' in names
        assert f'{folder}/configs/rfdetr/rfdetr_nano_coco.py' in names
        assert f'{folder}/tools/dev/environment.sh' not in names
    assert 'rfdetr_mm/py.typed' in names
    assert 'rfdetr_mm_light/sizes.csv' in names


def test_the_source_distribution_builds_the_same_wheel(
    tree, wheel, sdist, tmp_path
):
    assert check_package.sdist_complaints(sdist, tree) == []
    again = build_wheel(sdist, tmp_path / 'wheel')
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as two:
        assert sorted(one.namelist()) == sorted(two.namelist())


def without(archive, names, out, extra=()):
    """A wheel that lacks some files and has others."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(out, 'w') as new:
        for name in old.namelist():
            if name not in names:
                new.writestr(name, old.read(name))
        for name in extra:
            new.writestr(name, '')
    return out


def test_a_wheel_that_is_wrong(tree, wheel, tmp_path):
    lost = '+rfdetr_mm/.mim/tools/train.py'
    wrong = without(
        wheel, [lost], tmp_path / wheel.name, ['rfdetr_mm/.mim/tools/dev/x']
    )
    assert check_package.wheel_complaints(wrong, tree) == [
        f'{wheel.name} lacks {lost}',
        f'{wheel.name} has rfdetr_mm/.mim/tools/dev/x',
    ]


def test_a_wheel_that_requires_torch(tree, wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith('/METADATA'))
        text = archive.read(name)
    wrong = without(wheel, [name], tmp_path / wheel.name)
    with zipfile.ZipFile(wrong, 'a') as archive:
        archive.writestr(name, b'Requires-Dist: torch>=2.1\n' + text)
    (line,) = check_package.wheel_complaints(wrong, tree)
    assert "requires ['numpy', 'pillow', 'torch']" in line


def test_a_source_distribution_that_is_wrong(tree, sdist, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter='data')
    (folder,) = tmp_path.iterdir()
    (folder / 'setup.py').unlink()
    (folder / 'tests').mkdir()
    (folder / 'tests' / 'test_x.py').touch()
    wrong = tmp_path / 'wrong.tar.gz'
    with tarfile.open(wrong, 'w:gz') as archive:
        archive.add(folder, folder.name)
    assert check_package.sdist_complaints(wrong, tree) == [
        'wrong.tar.gz lacks setup.py',
        'wrong.tar.gz has tests/test_x.py',
    ]


def test_both_files_are_wanted(wheel, tmp_path):
    shutil.copy(wheel, tmp_path)
    with pytest.raises(SystemExit, match='one wheel and one source distrib'):
        check_package.main([str(tmp_path)])


def test_a_build_leaves_nothing_that_git_would_see(tree, wheel):
    assert {path.name for path in tree.iterdir()} - set(SOURCES) <= LEFTOVERS
    assert not (tree / 'rfdetr_mm' / '.mim').exists()
    ignored = (ROOT / '.gitignore').read_text().split()
    assert {'/build/', '*.egg-info/', '/rfdetr_mm/.mim/'} <= set(ignored)


def test_an_editable_installation_gets_links(tmp_path):
    tree = copy_sources(tmp_path / 'tree')
    build('editable', tree, tmp_path / 'editable')
    mim = tree / 'rfdetr_mm' / '.mim'
    assert {p.name: p.resolve() for p in mim.iterdir()} == {
        name: (tree / name).resolve() for name in check_package.MIM
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


def run_script(target, *arguments, cwd):
    """The installed console script."""
    return subprocess.run(
        [target / 'bin' / 'rfdetr-mm', *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, 'PYTHONPATH': str(target)},
        capture_output=True,
        text=True,
    )


def test_the_installed_script(target, tmp_path):
    done = run_script(target, 'info', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f'package {target}/rfdetr_mm' in done.stdout
    assert ' 30.43M ' in done.stdout  # of the index in the wheel


def test_demo_data_without_a_clone(target, tmp_path):
    done = run_script(
        *(target, 'demo-data', 'clip', tmp_path / 'clip'), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'clip' / 'clip.json').is_file()


@pytest.mark.slow  # asks an index for setuptools
@pytest.mark.parametrize('setuptools', ['==70.1.0', '==77.0.3', '>=81'])
def test_any_setuptools(tree, wheel, tmp_path, setuptools):
    wanted = tmp_path / 'constraints.txt'
    wanted.write_text(f'setuptools{setuptools}\n')
    built = build_wheel(tree, tmp_path / 'wheel', '--build-constraint', wanted)
    assert check_package.wheel_complaints(built, tree) == []


@pytest.mark.slow  # asks an index for build and twine
def test_the_script_that_builds_a_release(tmp_path):
    script = ROOT / 'tools' / 'dev' / 'package.sh'
    done = subprocess.run(
        [script, tmp_path / 'dist'],
        env={**os.environ, 'PYTHON': sys.executable},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('PASSED') == 2
    assert 'the command starts without torch' in done.stdout
    assert len(list(Path(tmp_path, 'dist').iterdir())) == 2


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / 'old.whl').touch()
    done = subprocess.run(
        [ROOT / 'tools' / 'dev' / 'package.sh', tmp_path],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stderr.count('\n') == 1
    assert 'is not empty' in done.stderr
