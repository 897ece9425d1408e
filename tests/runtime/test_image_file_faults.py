"""Image files, broken by a table and by chance."""

import contextlib
import io
import random

import pytest
from mmdet.registry import TRANSFORMS
from PIL import Image

from rfdetr_mm.apis.images import as_rgb
from rfdetr_mm.datasets.transforms.load_image import checked_loader
from rfdetr_mm.errors import InputError
from rfdetr_runtime.image_file import (
    ImageFileError,
    list_images,
    read_size,
)
from tests.faults import (
    Case,
    Target,
    changed_bytes,
    draw_bytes,
    fuzz,
    run_table,
    size_of_table,
)

SIZE = (24, 16)  # width, height
SMALL = 10**6  # pixels


def encoded(mode: str, kind: str, **options) -> bytes:
    rng = random.Random(0)
    picture = Image.new('RGB', SIZE)
    picture.putdata(
        [tuple(rng.randrange(256) for _ in range(3)) for _ in range(24 * 16)]
    )
    if mode == 'I;16':
        picture = picture.convert('L').convert('I').point(lambda v: v * 257)
        picture = picture.convert('I;16')
    else:
        picture = picture.convert(mode)
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


FILES = {
    'png': encoded('RGB', 'PNG'),
    'palette.png': encoded('P', 'PNG'),
    'alpha.png': encoded('LA', 'PNG'),
    'deep.png': encoded('I;16', 'PNG'),
    'turned.png': encoded('RGB', 'PNG', exif=turned()),
    'jpg': encoded('RGB', 'JPEG'),
    'grey.jpg': encoded('L', 'JPEG'),
    'turned.jpg': encoded('RGB', 'JPEG', exif=turned()),
    'cmyk.jpg': encoded('CMYK', 'JPEG'),
    'gif': encoded('P', 'GIF'),
    'webp': encoded('RGB', 'WEBP'),
    'tif': encoded('RGB', 'TIFF'),
    'deflate.tif': encoded('RGB', 'TIFF', compression='tiff_adobe_deflate'),
    'float.tif': encoded('F', 'TIFF'),
    'wide.tif': encoded('I', 'TIFF'),
    'bmp': encoded('RGB', 'BMP'),
    'ppm': encoded('RGB', 'PPM'),
}
# Of transforms; the first three are those of the configs.
UPSTREAMS = dict(
    imdecode_backend='pillow', color_type='color_ignore_orientation'
)
OPTIONS = (
    UPSTREAMS,
    dict(UPSTREAMS, draft_size=8),
    dict(UPSTREAMS, skip_unreadable=True),
    dict(UPSTREAMS, draft_size=8, imdecode_backend='cv2', to_float32=True),
    dict(UPSTREAMS, to_float32=True),
    dict(color_type='grayscale'),
)


def build_loader(options):
    loader = checked_loader(dict(type='mmcv.LoadImageFromFile', **options))
    return TRANSFORMS.build(loader)


def check_refused():
    """Options that do not go together, and other transforms."""
    for options in (dict(UPSTREAMS, draft_size=0), dict(draft_size=8)):
        with pytest.raises(InputError, match='draft_size'):
            build_loader(options)
    assert checked_loader(dict(type='Resize')) == dict(type='Resize')


# What stands in an annotation file beside the path.
ANNOTATED = (
    dict(
        height=16,
        width=24,
        img_id=1,
        instances=[
            dict(bbox=[0, 0, 8, 8], mask=[[0, 0, 8, 0, 8, 8]]),
            dict(bbox=[0, 0, 8, 8]),
        ],
    ),
    dict(
        height=16,
        width=24,
        instances=[dict(bbox=[0, 0, 8, 8], mask=dict(size=[16, 24]))],
    ),
    dict(height=24, width=16),
)


def run(folder, data):
    """By training, evaluation and prediction, which must agree."""
    path = folder / 'x.png'
    (folder / '._x.png').touch()
    path.write_bytes(data)
    is_small = False
    try:
        (height, width), orientation = read_size(path)
        assert height > 0 and width > 0 and 1 <= orientation <= 8
        is_small = height * width < SMALL
    except ImageFileError as error:
        assert str(path) in str(error)
    try:
        pixels = as_rgb(path)
    except InputError:
        pixels = None
    check_refused()
    evaluation, training, skipping, *others = map(build_loader, OPTIONS)
    if pixels is None:
        with pytest.raises(InputError, match='x.png'):
            evaluation.transform(dict(img_path=str(path)))
    else:
        found = evaluation.transform(dict(img_path=str(path)))['img']
        assert (found[..., ::-1] == pixels).all()
        assert pixels.ndim == 3 and pixels.shape[2] == 3
    if not is_small:
        others = ()  # OpenCV and float32 take several times the memory
    for loader in (training, skipping, *others):
        try:
            loader.transform(dict(img_path=str(path)))
            for more in ANNOTATED:
                loader.transform(dict(img_path=str(path), **more))
        except InputError as error:
            assert str(path) in str(error)
    if pixels is None:
        skipping._num_in_a_row = 199
        with pytest.raises(InputError, match='200 images in a row|x.png'):
            skipping.transform(dict(img_path=str(path)))
    with contextlib.suppress(ImageFileError):
        list_images(folder)
        (folder / '._x.png').unlink()
        list_images(folder)
    as_rgb(path)


def cases():
    for name, data in FILES.items():
        yield Case(f'valid: {name}', name, data)
        for case in changed_bytes(data, header=24):
            yield Case(case.kind, f'{name} {case.name}', case.data)


def draw(rng: random.Random) -> Case:
    name = rng.choice(list(FILES))
    case = draw_bytes(FILES[name], rng)
    return Case(case.kind, f'{name} {case.name}', case.data)


TARGET = Target(
    'images',
    cases,
    draw,
    run,
    ('cannot identify image file',),
    (
        'rfdetr_runtime.image_file',
        'rfdetr_mm.datasets.transforms.load_image',
    ),
)


@pytest.mark.filterwarnings('ignore')
def test_the_table(tmp_path):
    num_cases, num_kinds = size_of_table(TARGET)
    assert num_cases > 1500 and num_kinds > 20
    tally = run_table(TARGET, tmp_path, 500)
    assert tally.total == 500 and tally.accepted > 50
    print(tally)


@pytest.mark.fuzz
@pytest.mark.filterwarnings('ignore')
def test_fuzz(tmp_path, fuzz_minutes):
    fuzz(TARGET, tmp_path, fuzz_minutes, seed=2)
