import pytest

from rfdetr_mm_light import shipped_files


def test_an_installed_package_comes_first(tmp_path, monkeypatch):
    roots = (tmp_path / 'mim', tmp_path / 'clone')
    monkeypatch.setattr(shipped_files, 'ROOTS', roots)
    for root in roots[::-1]:
        (root / 'configs').mkdir(parents=True)
        (root / 'configs' / 'a.py').touch()
        found = shipped_files.find_shipped('configs/a.py')
        assert found == root / 'configs' / 'a.py'


def test_a_package_that_was_copied_alone():
    with pytest.raises(FileNotFoundError, match='link_mim'):
        shipped_files.find_shipped('configs/gone.py')
