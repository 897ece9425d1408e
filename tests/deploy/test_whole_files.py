"""All files of an export or none."""

import pytest

from rfdetr_mm.deploy.whole_files import whole_files


def test_files_appear_together(tmp_path):
    target = tmp_path / 'new'
    with whole_files(target) as unfinished:
        (unfinished / 'a').write_text('new')
        (unfinished / 'b').write_text('new')
        assert [path for path in target.iterdir() if path.is_file()] == []
    assert sorted(path.name for path in target.iterdir()) == ['a', 'b']


def test_failure_leaves_what_was_there(tmp_path):
    (tmp_path / 'a').write_text('old')
    with pytest.raises(RuntimeError), whole_files(tmp_path) as unfinished:
        (unfinished / 'a').write_text('half')
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ['a']
    assert (tmp_path / 'a').read_text() == 'old'
