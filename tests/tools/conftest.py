"""The package as a wheel, and as pip leaves it in a folder."""

import pytest
from built_package import PIP, build_wheel, copy_sources, run


@pytest.fixture(scope='session')
def tree(tmp_path_factory):
    return copy_sources(tmp_path_factory.mktemp('sources') / 'tree')


@pytest.fixture(scope='session')
def wheel(tree):
    return build_wheel(tree, tree.with_name('wheel'))


@pytest.fixture(scope='session')
def target(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp('installed') / 'packages'
    options = ('--no-deps', '--no-index', '--target', folder)
    run(*PIP, 'install', *options, wheel, cwd=folder.parent)
    return folder
