"""Pictures in folders, lists, Parquet and tar files."""

import io
import tarfile

import numpy as np
from PIL import Image

BROKEN = {'007.png': b'no picture', '008.png': b''}


def pixels(number, hw=(8, 18)):
    """A picture of its own for each number."""
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (*hw, 3), dtype=np.uint8)


def png(number):
    """The bytes of a file, of several heights."""
    file = io.BytesIO()
    Image.fromarray(pixels(number, (8 + number % 5, 18))).save(file, 'png')
    return file.getvalue()


def content(count, broken=BROKEN):
    """Name to bytes of ``count`` pictures, some of them no pictures."""
    names = [f'{number:03}.png' for number in range(count)]
    return {
        name: broken.get(name, png(number))
        for number, name in enumerate(names)
    }


def write_folder(folder, files):
    """Write the files, and what does not belong to them."""
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / '._001.png').write_bytes(b'of macOS')
    (folder / 'notes.md').write_text('no picture')
    (folder / 'below').mkdir()
    (folder / 'below' / 'x.png').write_bytes(png(99))
    return folder


def write_tar(path, files):
    """Write a tar file of WebDataset, with a text for each picture."""
    with tarfile.open(path, 'w') as tar:
        for name, data in files.items():
            text = name.replace('.png', '.json')
            for member, value in ((name, data), (text, b'{}')):
                info = tarfile.TarInfo(f'set/{member}')
                info.size = len(value)
                tar.addfile(info, io.BytesIO(value))
    return path


def write_parquet(path, columns, group=4):
    """Write columns with few rows in a row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path
