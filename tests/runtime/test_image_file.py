"""One answer for every kind of image file, wherever it is read."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from rfdetr_mm.apis.images import load_image
from rfdetr_mm.apis.inferencer import _path_or_array
from rfdetr_mm.datasets import LoadCheckedImage, YoloDataset
from rfdetr_mm.errors import InputError
from rfdetr_runtime import image_file
from rfdetr_runtime.pictures import read_picture

HEIGHT, WIDTH = 6, 10
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
GREY = RGB[..., 0]
DEEP = GREY.astype(np.uint16) * 256 + 77  # its high byte is GREY
STOCK = dict(
    type='LoadImageFromFile',
    color_type='color_ignore_orientation',
    imdecode_backend='pillow',
)
OPTIONS = {k: v for k, v in STOCK.items() if k != 'type'}


def by_validation(path):
    return LoadCheckedImage(**OPTIONS)(dict(img_path=str(path)))['img']


def by_training(path):
    load = LoadCheckedImage(**OPTIONS, skip_unreadable=True, draft_size=600)
    results = load(dict(img_path=str(path)))
    return 'skipped' if results is None else results['img']


def by_yolo(path):
    """The validation pipeline of a data set in the YOLO layout."""
    root = path.parent / 'set'
    (root / 'images').mkdir(parents=True)
    (root / 'data.yaml').write_text('names: [a]\nval: images\n')
    content = path.read_bytes() if path.exists() else b''
    (root / 'images' / path.name).write_bytes(content)
    dataset = YoloDataset(
        data_root=str(root),
        ann_file='data.yaml',
        split='val',
        test_mode=True,
        pipeline=[STOCK],
    )
    return dataset[0]['img']


def by_predict(path):
    return load_image(path, 3, True).source[..., ::-1]


def by_exported_file(path):
    return read_picture(path)[..., ::-1]


def by_predict_of_a_picture(path):
    with Image.open(path) as picture:
        return load_image(picture, 3, True).source[..., ::-1]


def by_inferencer_of_a_picture(path):
    with Image.open(path) as picture:
        return _path_or_array(picture, 3)


FILES = [by_validation, by_training, by_yolo, by_predict, by_exported_file]
PLACES = [*FILES, by_predict_of_a_picture, by_inferencer_of_a_picture]


def saved(picture, kind='PNG', **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def frames(kind):
    pages = [Image.fromarray(RGB), Image.fromarray(RGB[::-1].copy())]
    options = dict(lossless=True) if kind == 'WEBP' else {}
    return saved(
        pages[0], kind, save_all=True, append_images=pages[1:], **options
    )


def turned(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(Image.fromarray(RGB), kind, exif=exif)


def pillows(content: bytes) -> np.ndarray:
    """What Pillow makes of the first page or frame."""
    with Image.open(io.BytesIO(content)) as picture:
        return np.array(picture.convert('RGB'))


def stacked(grey):
    return np.stack([grey] * 3, axis=-1)


def palette_with_alpha():
    picture = Image.fromarray(RGB).quantize(8)
    picture.info['transparency'] = 3
    return saved(picture)


GREY_ALPHA = Image.merge('LA', [Image.fromarray(RGB[..., i]) for i in (0, 1)])
RGBA = Image.fromarray(np.concatenate([RGB, RGB[..., :1]], 2))
CMYK = Image.fromarray(RGB).convert('CMYK')
# Name: bytes of the file, RGB pixels (None: what Pillow's convert makes).
READ = {
    'rgb.png': (saved(Image.fromarray(RGB)), RGB),
    'grey.png': (saved(Image.fromarray(GREY)), stacked(GREY)),
    'grey.jpg': (saved(Image.fromarray(GREY), 'JPEG'), None),
    'rgb.jpg': (saved(Image.fromarray(RGB), 'JPEG'), None),
    'black and white.png': (saved(Image.fromarray(RGB).convert('1')), None),
    '16 bits.png': (saved(Image.fromarray(DEEP)), stacked(GREY)),
    '16 bits.tif': (saved(Image.fromarray(DEEP), 'TIFF'), stacked(GREY)),
    '16 bits.jp2.tiff': (
        saved(Image.fromarray(DEEP), 'JPEG2000'),
        stacked(GREY),
    ),
    '32 bits.tif': (
        saved(Image.fromarray(DEEP.astype(np.int32)), 'TIFF'),
        stacked(GREY),
    ),
    'palette.png': (saved(Image.fromarray(RGB).quantize(8)), None),
    'palette with alpha.png': (palette_with_alpha(), None),
    'grey alpha.png': (saved(GREY_ALPHA), stacked(GREY)),
    'alpha.png': (saved(RGBA), RGB),
    'alpha.webp': (saved(RGBA, 'WEBP', lossless=True, exact=True), RGB),
    'cmyk.jpg': (saved(CMYK, 'JPEG'), None),
    'cmyk.tif': (saved(CMYK, 'TIFF'), RGB),
    'pages.tif': (frames('TIFF'), RGB),
    'frames.gif.png': (frames('GIF'), None),
    'frames.webp': (frames('WEBP'), RGB),
    'turned 3.jpg': (turned('JPEG', 3), None),
    'turned 6.jpg': (turned('JPEG', 6), None),
    'turned 8.png': (turned('PNG', 8), RGB),
    'turned 5.webp': (turned('WEBP', 5), None),
    'turned 6.tif': (turned('TIFF', 6), np.rot90(RGB, -1)),
    '1 x 1.png': (saved(Image.fromarray(RGB[:1, :1])), RGB[:1, :1]),
    '1 x 9.jpg': (saved(Image.fromarray(RGB[:1, :9]), 'JPEG'), None),
    '1 x 5000.png': (
        saved(Image.fromarray(np.tile(RGB[:1], (1, 500, 1)))),
        np.tile(RGB[:1], (1, 500, 1)),
    ),
}


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('name', READ)
def test_the_pixels_are_the_same_everywhere(tmp_path, name, place):
    content, expected = READ[name]
    path = tmp_path / name
    path.write_bytes(content)
    found = place(path)
    expected = pillows(content) if expected is None else expected
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected[..., ::-1])  # BGR


CUT_JPEG = saved(Image.fromarray(RGB).resize((200, 200)), 'JPEG')[:1500]
FLOATS = RGB[..., 0] / np.float32(255)
# Name: bytes of the file, words of the error.
BROKEN = {
    'zero bytes.jpg': (b'', 'cannot be read: the file is empty'),
    'text.png': (b'no picture at all', 'cannot be read: cannot identify'),
    'cut.jpg': (CUT_JPEG, 'cannot be read: image file is truncated'),
    'cut.png': (READ['rgb.png'][0][:90], 'cannot be read'),
    'cut.tif': (READ['pages.tif'][0][:120], 'cannot be read'),
    'cut.webp': (READ['alpha.webp'][0][:-20], 'cannot be read'),
}
REFUSED = {
    'floats.tif': (
        saved(Image.fromarray(FLOATS), 'TIFF'),
        r'floating-point pixels \(mode F\).* 8 or 16 bits',
    ),
    'negative.tif': (
        saved(Image.fromarray(DEEP.astype(np.int32) - 70000), 'TIFF'),
        r'pixels from -\d+ to .*mode I.* 8 or 16 bits',
    ),
    'beyond.tif': (
        saved(Image.fromarray(DEEP.astype(np.int32) * 2**10), 'TIFF'),
        'do not fit into 16 bits',
    ),
}


@pytest.mark.parametrize('place', FILES)
@pytest.mark.parametrize('name', BROKEN)
def test_a_broken_file_is_named_or_in_training_skipped(
    tmp_path, name, place, log_lines
):
    content, words = BROKEN[name]
    path = tmp_path / name
    path.write_bytes(content)
    if place is by_training:
        assert place(path) == 'skipped'
        assert name in log_lines[0]
        return
    with pytest.raises(InputError, match=f'{name}.*cannot be read'):
        place(path)
    if place in (by_predict, by_exported_file):
        with pytest.raises(InputError, match=words):
            place(path)


@pytest.mark.parametrize('place', FILES)
@pytest.mark.parametrize('name', REFUSED)
def test_unknown_ranges_are_an_error_everywhere(tmp_path, name, place):
    content, words = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=f'{name}.*{words}'):
        place(path)


@pytest.mark.parametrize('place', FILES)
def test_a_picture_above_pillows_limit_is_one_error(
    tmp_path, place, monkeypatch
):
    path = tmp_path / 'huge.png'
    path.write_bytes(READ['rgb.png'][0])
    # Pillow refuses from twice its limit on.
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', HEIGHT * WIDTH // 2 - 1)
    words = r'huge\.png is too large: .*60 pixels.*58 pixels.*Cut it'
    with pytest.raises(InputError, match=words):
        place(path)


@pytest.mark.parametrize('high, is_dark', [(65535, 0), (0, 0), (4095, 1)])
def test_dark_16_bit_pictures_are_a_warning_once(
    tmp_path, monkeypatch, high, is_dark
):
    monkeypatch.setattr(image_file, '_SEEN_DARK', set())
    path = tmp_path / 'a.png'
    Image.fromarray(np.full((4, 5), high, np.uint16)).save(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        for _ in range(3):
            image_file.read_rgb(path, str(path))
    assert len(caught) == is_dark
    if is_dark:
        assert 'no value above 4095' in str(caught[0].message)


@pytest.mark.parametrize(
    'content, expected',
    [
        (READ['rgb.jpg'][0], 1),
        (turned('JPEG', 3), 3),
        (turned('JPEG', 6), 6),
        (turned('PNG', 8), 8),
        (turned('WEBP', 5), 5),
        (turned('TIFF', 6), 1),  # Pillow turns it
        (turned('JPEG', 77), 1),
    ],
)
def test_orientation(tmp_path, content, expected):
    path = tmp_path / 'a'
    path.write_bytes(content)
    size, orientation = image_file.read_size(path)
    assert orientation == expected
    assert size == by_predict(path).shape[:2]


def test_what_is_no_image_file_is_left_out(tmp_path):
    for name in ('b.JPG', 'a.tif', '._a.jpg', 'notes.txt', 'deep/c.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'x.jpg').mkdir()
    found, left_out = image_file.find_image_files(tmp_path)
    assert [path.name for path in found] == ['a.tif', 'b.JPG']
    assert [path.name for path in left_out] == ['._a.jpg', 'x.jpg']
    found, _ = image_file.find_image_files(tmp_path, recursive=True)
    assert [path.name for path in found] == ['a.tif', 'b.JPG', 'c.png']
