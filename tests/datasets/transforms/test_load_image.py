import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from PIL import Image

from rfdetr_mm.datasets import LoadCheckedImage

HEIGHT, WIDTH = 10, 16
OPTIONS = dict(
    color_type='color_ignore_orientation', imdecode_backend='pillow'
)


@pytest.fixture
def pixels():
    """Random RGB pixels; a file of them is larger than a decoder's header."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def results(path, height=HEIGHT, width=WIDTH) -> dict:
    return dict(img_path=str(path), img_id=5, height=height, width=width)


def test_the_picture_is_the_one_of_the_stock_loader(tmp_path, pixels):
    path = tmp_path / 'a.png'
    Image.fromarray(pixels).save(path)
    ours = LoadCheckedImage(**OPTIONS)(results(path))
    stock = TRANSFORMS.build(dict(type='mmcv.LoadImageFromFile', **OPTIONS))
    expected = stock(results(path))
    np.testing.assert_array_equal(ours.pop('img'), expected.pop('img'))
    assert ours == expected
    assert ours['ori_shape'] == (HEIGHT, WIDTH)


def grey(pixels):
    return Image.fromarray(pixels[..., 0])


def grey_alpha(pixels):
    return Image.merge('LA', [Image.fromarray(pixels[..., i]) for i in (0, 1)])


def rgba(pixels):
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    return Image.fromarray(np.concatenate([pixels, alpha], 2))


def palette(pixels):
    return Image.fromarray(pixels).quantize(8)


def black_and_white(pixels):
    return Image.fromarray(pixels).convert('1')


@pytest.mark.parametrize(
    'draw', [grey, rgba, palette, black_and_white, grey_alpha]
)
def test_every_mode_gives_three_channels(tmp_path, pixels, draw):
    path = tmp_path / 'a.png'
    picture = draw(pixels)
    picture.save(path)
    img = LoadCheckedImage(**OPTIONS)(results(path))['img']
    assert img.shape == (HEIGHT, WIDTH, 3) and img.dtype == np.uint8
    if draw is not grey_alpha:  # no colour of an opaque pixel is changed
        expected = np.array(picture.convert('RGB'))[..., ::-1]  # BGR
        np.testing.assert_array_equal(img, expected)


def write_truncated(path, pixels):
    Image.fromarray(pixels.repeat(20, 0).repeat(20, 1)).save(path, 'JPEG')
    path.write_bytes(path.read_bytes()[:1500])


def write_broken_png(path, pixels):
    Image.fromarray(pixels).save(path, 'PNG')
    path.write_bytes(path.read_bytes()[:200])


def write_text(path, pixels):
    path.write_text('no picture')


def write_nothing(path, pixels):
    path.write_bytes(b'')


def write_no_file(path, pixels):
    pass


def make_folder(path, pixels):
    path.mkdir()


UNREADABLE = [
    write_truncated,
    write_broken_png,
    write_text,
    write_nothing,
    write_no_file,
    make_folder,
]
# cv2 fills in what a cut file lacks.
CASES = [(write, 'pillow') for write in UNREADABLE]
CASES += [(write, 'cv2') for write in UNREADABLE[2:]]


@pytest.mark.parametrize('write, backend', CASES)
def test_an_unreadable_file_is_named(tmp_path, pixels, write, backend):
    path = tmp_path / 'bad.jpg'
    write(path, pixels)
    load = LoadCheckedImage(**{**OPTIONS, 'imdecode_backend': backend})
    with pytest.raises(ValueError, match=r'bad.jpg \(id 5\) cannot be read'):
        load(results(path))
    # Results without an id, as inference has them.
    with pytest.raises(ValueError, match='bad.jpg .*cannot be read'):
        load(dict(img_path=str(path)))


@pytest.mark.parametrize('option', ['skip_unreadable', 'ignore_empty'])
def test_unreadable_files_are_skipped_with_one_warning_each(
    tmp_path, pixels, log_lines, option
):
    load = LoadCheckedImage(**OPTIONS, **{option: True})
    for name in 'aab':
        assert load(results(tmp_path / f'{name}.png')) is None
    assert len(log_lines) == 2
    assert 'a.png (id 5) cannot be read' in log_lines[0]
    assert '(1 skipped so far' in log_lines[0]
    assert 'b.png' in log_lines[1] and '(2 skipped so far' in log_lines[1]


def test_too_many_in_a_row_are_an_error(tmp_path, pixels):
    good = tmp_path / 'good.png'
    Image.fromarray(pixels).save(good)
    load = LoadCheckedImage(**OPTIONS, skip_unreadable=True)
    bad = tmp_path / 'bad.png'
    for _ in range(2):
        for _ in range(199):
            assert load(results(bad)) is None
        assert load(results(good))['img'].shape == (HEIGHT, WIDTH, 3)
    for _ in range(199):
        load(results(bad))
    with pytest.raises(ValueError, match='200 images in a row .*bad.png'):
        load(results(bad))


@pytest.mark.parametrize(
    'height, width, is_swapped',
    [
        (HEIGHT, WIDTH + 1, False),
        (HEIGHT + 1, WIDTH, False),
        (WIDTH, HEIGHT, True),
    ],
)
@pytest.mark.parametrize('skip_unreadable', [False, True])
def test_another_size_is_an_error(
    tmp_path, pixels, height, width, is_swapped, skip_unreadable
):
    path = tmp_path / 'a.png'
    Image.fromarray(pixels).save(path)
    load = LoadCheckedImage(**OPTIONS, skip_unreadable=skip_unreadable)
    with pytest.raises(ValueError) as error:
        load(results(path, height, width))
    message = str(error.value)
    assert 'a.png (id 5) has 10 x 16 pixels (height x width)' in message
    assert f'says {height} x {width}' in message
    assert ('EXIF' in message) == is_swapped


def test_the_way_out_of_turned_pictures_works(tmp_path, pixels):
    path = tmp_path / 'turned.jpg'
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees for display
    Image.fromarray(pixels).save(path, exif=exif)
    with pytest.raises(ValueError, match="EXIF.*color_type='color'"):
        LoadCheckedImage(**OPTIONS)(results(path, WIDTH, HEIGHT))
    load = LoadCheckedImage(imdecode_backend='pillow', color_type='color')
    img = load(results(path, WIDTH, HEIGHT))['img']
    assert img.shape == (WIDTH, HEIGHT, 3)


def test_without_a_known_size_nothing_is_compared(tmp_path, pixels):
    path = tmp_path / 'a.png'
    Image.fromarray(pixels).save(path)
    img = LoadCheckedImage(**OPTIONS)(dict(img_path=str(path)))['img']
    assert img.shape == (HEIGHT, WIDTH, 3)


def test_repr_shows_the_arguments():
    shown = repr(LoadCheckedImage(**OPTIONS, skip_unreadable=True))
    assert shown.startswith('LoadCheckedImage(')
    assert shown.endswith('skip_unreadable=True)') and 'pillow' in shown
