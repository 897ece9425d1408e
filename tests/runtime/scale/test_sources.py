"""What a source is, and which images it has."""

import pyarrow as pa
import pytest
from scale_sources import (
    content,
    png,
    write_folder,
    write_parquet,
    write_tar,
)

from rfdetr_runtime import InputError
from rfdetr_runtime.scale.places import Reader
from rfdetr_runtime.scale.sources import list_entries

FILES = content(10)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / 'photos', FILES)
    return tmp_path


def listed(*sources):
    return list(list_entries(sources))


def read(entries):
    return [Reader().read(entry) for entry in entries]


def check_content(entries, files=FILES):
    """Every entry is the picture, or the error, of the file in its turn."""
    found = read(entries)
    assert len(found) == len(files)
    for (picture, error), data in zip(found, files.values(), strict=True):
        assert (picture is None) == (error is not None)
        assert (error is None) == data.startswith(b'\x89PNG')


def test_a_folder(here):
    entries = listed('photos')
    assert [e.image for e in entries] == [
        str(here / 'photos' / name) for name in FILES
    ]
    check_content(entries)
    assert entries == listed(str(here / 'photos'))


def test_a_pattern_takes_images_and_says_what_it_left_out(here):
    with pytest.warns(UserWarning, match='left out: 1,.*notes.md'):
        entries = listed('photos/*')
    assert entries == listed('photos')
    names = [e.image for e in listed('photos/**/*.png')]
    assert str(here / 'photos/below/x.png') in names
    assert len(names) == len(FILES) + 1


def test_a_name_with_the_characters_of_a_pattern(here):
    (here / 'a[1].png').write_bytes(png(1))
    assert [e.image for e in listed('a[1].png')] == [str(here / 'a[1].png')]


def test_an_image_of_any_name(here):
    (here / 'picture').write_bytes(png(1))
    ((picture, error),) = read(listed('picture'))
    assert error is None and picture.shape == (9, 18, 3)


def test_sources_keep_their_order_and_doubles_their_rows(here):
    entries = listed('photos/003.png', 'photos', 'photos/003.png')
    assert len(entries) == 12
    assert entries[0] == entries[-1] == entries[4]


@pytest.mark.parametrize('kind', ['txt', 'parquet', 'path', 'two'])
def test_a_list_counts_from_its_folder(here, kind):
    names = [f'../photos/{name}' for name in FILES]
    names[3] = str(here / 'photos' / '003.png')
    (here / 'lists').mkdir()
    file = here / 'lists' / f'list.{"txt" if kind == "txt" else "parquet"}'
    if kind == 'txt':
        file.write_text('\n\n'.join(names) + '\n')
    else:
        columns = {'path' if kind == 'path' else 'x': names}
        if kind == 'path':
            columns['label'] = ['cat'] * len(names)
        if kind == 'two':
            columns['y'] = names
        write_parquet(file, columns)
    if kind == 'two':
        with pytest.raises(InputError, match='column of paths.*it has x, y'):
            listed(str(file))
        return
    entries = listed('lists/' + file.name)
    assert entries[3].image == names[3]
    check_content(entries)


def test_a_missing_image_of_a_list_is_an_error_of_this_image(here):
    (here / 'list.txt').write_text('photos/000.png\nphotos/gone.png\n')
    (_, first), (picture, error) = read(listed('list.txt'))
    assert first is None and picture is None
    assert error == f'There is no image file {here / "photos/gone.png"}.'


@pytest.mark.parametrize('nested', [False, True])
def test_images_in_a_parquet_file(here, nested):
    values = list(FILES.values())
    column = values
    if nested:
        column = pa.array(
            [dict(bytes=v, path=f'{i}.png') for i, v in enumerate(values)]
        )
    columns = {'image': column, 'label': list(range(10))}
    file = write_parquet(here / 'a.parquet', columns)
    entries = listed('a.parquet')
    assert [e.image for e in entries] == [f'{file}::{i}' for i in range(10)]
    check_content(entries)
    # One reader for all of them gives the same as one for each.
    reader = Reader()
    backwards = [reader.read(entry)[1] for entry in entries[::-1]]
    assert backwards[::-1] == [error for _, error in read(entries)]


def test_a_tar_file(here):
    file = write_tar(here / 'a.tar', FILES)
    entries = listed('*.tar')
    names = [f'{file}::set/{name}' for name in FILES]
    assert [e.image for e in entries] == names
    check_content(entries)
    assert read(entries)[7] == (
        None,
        f'{names[7]} cannot be read: it is not an image',
    )
    assert read(entries)[8][1] == f'{names[8]} cannot be read: it is empty'


def test_a_tar_file_that_was_cut_off_after_it_was_listed(here):
    file = write_tar(here / 'a.tar', FILES)
    entries = listed('a.tar')
    file.write_bytes(file.read_bytes()[: entries[5].offset + 1])
    errors = [error for _, error in read(entries)]
    assert errors[4] is None and 'ends before byte' in errors[5]


def break_parquet(here):
    (here / 'bad.parquet').write_bytes(b'PAR1')
    return 'bad.parquet'


def break_tar(here):
    file = write_tar(here / 'cut.tar', FILES)
    file.write_bytes(file.read_bytes()[:1000])
    return 'cut.tar'


def empty_list(here):
    (here / 'none.txt').write_text('\n \n')
    return 'none.txt'


def empty_folder(here):
    (here / 'empty').mkdir()
    return 'empty'


def no_text(here):
    return write_parquet(here / 'n.parquet', dict(number=[1])).name


BAD = {
    'missing': (lambda here: 'gone', 'there is no image, folder or list gone'),
    'empty name': (lambda here: '', r'list \(an empty path\)'),
    'no match': (lambda here: '*.tif', r'\*.tif has no images: a source is'),
    'empty folder': (empty_folder, 'empty has no images'),
    'empty list': (empty_list, 'none.txt has no images'),
    'parquet': (break_parquet, 'bad.parquet cannot be read: '),
    'tar': (break_tar, 'cut.tar cannot be read: '),
    'no column': (no_text, 'must have a column of paths.*it has number'),
    'protocol': (lambda here: 'nowhere://x', 'cannot be read: .*nowhere'),
}


@pytest.mark.parametrize('case', BAD)
def test_bad_sources(here, case):
    make, message = BAD[case]
    with pytest.raises(InputError, match=message) as caught:
        listed('photos', make(here))
    assert '\n' not in str(caught.value)


def test_listing_holds_no_names(here):
    """Entries come one by one; the first is there before the second."""
    entries = list_entries(['photos/000.png', 'gone'])
    assert next(entries).image.endswith('000.png')
    with pytest.raises(InputError):
        next(entries)
