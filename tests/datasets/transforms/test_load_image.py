import numpy as np
import pycocotools.mask
import pytest
from mmcv.transforms import Compose
from mmdet.registry import TRANSFORMS
from PIL import Image

from rfdetr_mm.datasets import LoadCheckedImage
from rfdetr_mm.errors import InputError

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
    return Image.fromarray(np.concatenate([pixels, pixels[..., :1]], 2))


def palette(pixels):
    return Image.fromarray(pixels).quantize(8)


def black_and_white(pixels):
    return Image.fromarray(pixels).convert('1')


@pytest.mark.parametrize(
    'draw', [grey, rgba, palette, black_and_white, grey_alpha]
)
@pytest.mark.parametrize('draft_size', [None, 4])
def test_every_mode_is_what_pillow_makes_of_it(
    tmp_path, pixels, draw, draft_size
):
    path = tmp_path / 'a.png'
    picture = draw(pixels)
    picture.save(path)
    load = LoadCheckedImage(**OPTIONS, draft_size=draft_size)
    img = load(results(path))['img']
    assert img.shape == (HEIGHT, WIDTH, 3) and img.dtype == np.uint8
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
    with pytest.raises(ValueError, match='bad.jpg cannot be read') as error:
        load(dict(img_path=str(path)))
    assert str(error.value).endswith('. Replace the file.')


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


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('color_type', ['color', 'grayscale'])
def test_too_large_for_any_decoder(
    tmp_path, pixels, monkeypatch, backend, color_type
):
    path = tmp_path / 'a.png'
    Image.fromarray(pixels).save(path)
    options = dict(imdecode_backend=backend, color_type=color_type)
    load = LoadCheckedImage(**options, skip_unreadable=True)
    assert load(dict(img_path=str(path)))['img'].shape[:2] == (HEIGHT, WIDTH)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', pixels[..., 0].size // 3)
    with pytest.raises(InputError, match='a.png is too large'):
        load(dict(img_path=str(path)))


def test_without_a_known_size_nothing_is_compared(tmp_path, pixels):
    path = tmp_path / 'a.png'
    Image.fromarray(pixels).save(path)
    img = LoadCheckedImage(**OPTIONS)(dict(img_path=str(path)))['img']
    assert img.shape == (HEIGHT, WIDTH, 3)


def test_repr_shows_the_arguments():
    shown = repr(
        LoadCheckedImage(**OPTIONS, skip_unreadable=True, draft_size=9)
    )
    assert shown.startswith('LoadCheckedImage(') and 'pillow' in shown
    assert shown.endswith('skip_unreadable=True, draft_size=9)')


FULL = (131, 250)  # (h, w) of a picture that is decoded at a fraction


@pytest.fixture
def photo(tmp_path):
    """A smooth colour JPEG, its upper left quarter white."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize(FULL[::-1], 3)
    picture.paste((255, 255, 255), (0, 0, FULL[1] // 2, FULL[0] // 2))
    path = tmp_path / 'photo.jpg'
    picture.save(path, quality=92)
    return path


def pillow_pixels(path, factor: int) -> np.ndarray:
    with Image.open(path) as picture:
        size = tuple(side // factor for side in picture.size)
        picture.draft('RGB', size)
        return np.array(picture.convert('RGB'))[..., ::-1]


@pytest.mark.parametrize(
    'draft_size, factor',
    [(132, 1), (131, 1), (66, 1), (65, 2), (33, 2), (32, 4), (16, 8), (1, 8)],
)
@pytest.mark.parametrize('mode', ['RGB', 'L'])
def test_jpeg_files_are_drafted_as_pillow_does(
    tmp_path, photo, draft_size, factor, mode
):
    path = tmp_path / 'mode.jpg'
    Image.open(photo).convert(mode).save(path)
    load = LoadCheckedImage(**OPTIONS, draft_size=draft_size)
    loaded = load(results(path, *FULL))
    expected = pillow_pixels(path, factor)
    np.testing.assert_array_equal(loaded['img'], expected)
    assert loaded['img_shape'] == loaded['ori_shape'] == expected.shape[:2]
    size = (loaded['height'], loaded['width'])
    assert size == tuple(-(-side // factor) for side in FULL)


def test_boxes_and_masks_shrink_with_the_picture(photo):
    height, width = FULL
    quarter = [0.0, 0.0, float(width // 2), float(height // 2)]
    x, y = quarter[2:]
    instances = [
        dict(bbox=quarter, bbox_label=0, ignore_flag=0),
        dict(bbox=[10.0, 20.0, 30.0, 60.0], bbox_label=1, ignore_flag=1),
    ]
    instances[0]['mask'] = [[0.0, 0.0, x, 0.0, x, y, 0.0, y]]
    instances[1]['mask'] = [np.array([10, 20, 30, 20, 30, 60])]
    load = LoadCheckedImage(**OPTIONS, draft_size=32)
    loaded = Compose(
        [
            load,
            dict(
                type='mmdet.LoadAnnotations',
                with_bbox=True,
                with_mask=True,
                poly2mask=False,
            ),
        ]
    )(dict(results(photo, *FULL), instances=instances))
    assert loaded['img_shape'] == (33, 63)
    scale = np.array([63 / width, 33 / height] * 2)
    boxes = loaded['gt_bboxes'].tensor.numpy()
    np.testing.assert_allclose(boxes[0], quarter * scale, rtol=1e-6)
    np.testing.assert_allclose(boxes[1], [10, 20, 30, 60] * scale, rtol=1e-6)
    assert loaded['gt_masks'].masks[1][0][:2].tolist() == pytest.approx(
        [10 * scale[0], 20 * scale[1]]
    )
    # The box is where the picture is white.
    white = (loaded['img'] > 240).all(2)
    inside = np.zeros_like(white)
    inside[: round(boxes[0, 3]), : round(boxes[0, 2])] = True
    assert (white == inside).mean() > 0.97
    assert instances[0]['bbox'] == quarter  # the data set's own


def test_pictures_without_objects_are_drafted(photo):
    load = LoadCheckedImage(**OPTIONS, draft_size=32)
    loaded = load(dict(results(photo, *FULL), instances=[]))
    assert loaded['img_shape'] == (33, 63) and loaded['instances'] == []


def test_rle_masks_keep_the_picture_in_full(photo):
    plane = np.zeros(FULL, np.uint8, order='F')
    rle = pycocotools.mask.encode(plane)
    instances = [dict(bbox=[1.0, 2.0, 3.0, 4.0], mask=rle)]
    load = LoadCheckedImage(**OPTIONS, draft_size=16)
    loaded = load(dict(results(photo, *FULL), instances=instances))
    assert loaded['img_shape'] == FULL and loaded['instances'] == instances


@pytest.mark.parametrize(
    'mode, suffix', [('RGB', 'png'), ('CMYK', 'jpg'), ('RGB', 'bmp')]
)
def test_other_files_are_left_to_pillow(tmp_path, photo, mode, suffix):
    path = tmp_path / f'other.{suffix}'
    Image.open(photo).convert(mode).save(path)
    loaded = LoadCheckedImage(**OPTIONS, draft_size=16)(results(path, *FULL))
    expected = LoadCheckedImage(**OPTIONS)(results(path, *FULL))
    np.testing.assert_array_equal(loaded['img'], expected['img'])


@pytest.mark.parametrize('write', UNREADABLE)
def test_drafting_names_unreadable_files_as_well(tmp_path, pixels, write):
    path = tmp_path / 'bad.jpg'
    write(path, pixels)
    with pytest.raises(ValueError, match=r'bad.jpg \(id 5\) cannot be read'):
        LoadCheckedImage(**OPTIONS, draft_size=4)(results(path))


def test_drafted_pictures_are_compared_in_full_size(photo):
    load = LoadCheckedImage(**OPTIONS, draft_size=16)
    with pytest.raises(ValueError, match='has 131 x 250 pixels'):
        load(results(photo, 66, 125))


def test_drafting_keeps_to_its_rules(photo):
    with pytest.raises(ValueError, match='at least 1, not 0'):
        LoadCheckedImage(**OPTIONS, draft_size=0)
    with pytest.raises(ValueError, match="color_type='color' was given"):
        LoadCheckedImage(color_type='color', draft_size=16)
    floats = LoadCheckedImage(**OPTIONS, draft_size=16, to_float32=True)
    assert floats(results(photo, *FULL))['img'].dtype == np.float32
