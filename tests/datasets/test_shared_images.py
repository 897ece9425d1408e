"""Images that are trained on and evaluated on as well."""

import shutil

import pytest

from rfdetr_mm.datasets import resolve_own_data, shared_images
from tests.data_factory import LAYOUT_FILES, edit_json, write_layout
from tests.datasets.test_own_data import custom_config


@pytest.fixture
def lines(monkeypatch):
    said = []
    monkeypatch.setattr(
        shared_images,
        'log_in_main_process',
        lambda line, level: said.append(line),
    )
    return said


def share(root, layout, number=2):
    """Put images of the training split among those of the validation."""
    if layout == 'yolo':
        for kind, end in (('images', 'png'), ('labels', 'txt')):
            for i in range(1, number + 1):
                shutil.copy(
                    root / 'train' / kind / f'train {i}.{end}',
                    root / 'valid' / kind,
                )
        return
    (_, trained), (path, folder) = (
        LAYOUT_FILES[layout][split] for split in ('train', 'val')
    )

    def add(content):
        for i in range(1, number + 1):
            name = f'train {i}.png'
            size = {1: (60, 90), 2: (90, 60)}[i]
            content['images'].append(
                dict(id=70 + i, file_name=name, height=size[0], width=size[1])
            )
            if trained != folder:
                shutil.copy(root / trained / name, root / folder / name)

    edit_json(root / path, add)


@pytest.mark.parametrize('layout', [*LAYOUT_FILES, 'yolo'])
def test_one_line_for_each_split(tmp_path, lines, layout):
    root = write_layout(tmp_path / 'set', layout)
    resolve_own_data(custom_config(root))
    assert lines == []
    share(root, layout)
    resolve_own_data(custom_config(root))
    (line,) = lines
    assert line.startswith("2 of 5 images of the split 'val' are in the tra")
    assert 'train 1.png' in line and 'rfdetr-mm check' in line


def test_other_pictures_of_the_same_name_are_not_shared(tmp_path, lines):
    root = write_layout(tmp_path / 'set', 'roboflow')
    share(root, 'roboflow')
    for i in (1, 2):
        path = root / 'valid' / f'train {i}.png'
        path.write_bytes(path.read_bytes() + b'\0')
    resolve_own_data(custom_config(root))
    assert lines == []


def test_one_split_alone_says_nothing(tmp_path, lines):
    root = write_layout(tmp_path / 'set', 'flat')
    share(root, 'flat')
    options = {
        'train_dataloader__dataset__metainfo': dict(classes=('disc', 'square'))
    }
    resolve_own_data(custom_config(root, **options), only='val')
    assert lines == []
