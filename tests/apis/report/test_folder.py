"""A report is written only where it belongs, and read by its version only."""

import json
import os

import pytest

from rfdetr_mm.apis.report.folder import (
    FORMAT,
    VERSION,
    check_against,
    check_folder,
)
from rfdetr_mm.errors import InputError


def write(path, **content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(format=FORMAT, **content)))


def one_line(error):
    return '\n' not in str(error.value)


def test_new_and_empty_folders_and_earlier_reports_may_be_written(tmp_path):
    assert check_folder(tmp_path / 'new' / 'er').is_dir()
    check_folder(tmp_path / 'new' / 'er')
    write(tmp_path / 'old' / 'report.json', version=0)
    (tmp_path / 'old' / 'index.html').write_text('x')
    check_folder(tmp_path / 'old')


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / 'thesis.tex').write_text('x')
    with pytest.raises(InputError, match='holds other files') as error:
        check_folder(tmp_path)
    assert one_line(error)
    (tmp_path / 'report.json').write_text('{"format": "of another program"}')
    with pytest.raises(InputError, match='holds other files'):
        check_folder(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ['report.json', 'thesis.tex']


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').write_text('x')
    for folder in (tmp_path / 'file', tmp_path / 'file' / 'deeper'):
        with pytest.raises(InputError, match='cannot be written') as error:
            check_folder(folder)
        assert one_line(error)


def test_an_earlier_report_is_read_by_its_folder_or_file(tmp_path):
    write(tmp_path / 'report.json', version=VERSION, title='a')
    assert check_against(tmp_path)['title'] == 'a'
    assert check_against(tmp_path / 'report.json')['title'] == 'a'


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'there is no report'),
        ('{}', 'is not a report'),
        ('[', 'is not a report'),
        ('[1]', 'is not a report'),
        (json.dumps(dict(format=FORMAT, version=99)), 'version 99 of the'),
        (json.dumps(dict(format=FORMAT)), 'version None of the'),
    ],
)
def test_what_is_no_earlier_report(tmp_path, content, message):
    if content is not None:
        (tmp_path / 'report.json').write_text(content)
    with pytest.raises(InputError, match=message) as error:
        check_against(tmp_path)
    assert one_line(error)
