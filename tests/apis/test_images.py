import re

import numpy as np
import pytest
import torch
from PIL import Image

from rfdetr_mm.apis.images import LoadedImage, load_image, make_batch
from rfdetr_mm.errors import InputError
from tests.file_server import Answer, file_server


@pytest.fixture(scope='module')
def rgb():
    return np.random.default_rng(0).integers(0, 256, (5, 9, 3), np.uint8)


def as_unit(loaded):
    pixels = loaded.pixels
    return pixels / 255 if pixels.dtype == torch.uint8 else pixels


def every_kind(rgb, folder):
    path = folder / 'a b.png'
    Image.fromarray(rgb).save(path)
    chw = torch.from_numpy(rgb).permute(2, 0, 1) / 255
    alpha = Image.fromarray(rgb).convert('RGBA')
    return {
        'path': path,
        'text': str(path),
        'pillow': Image.fromarray(rgb),
        'with alpha': alpha,
        'array': rgb,
        'turned twice': rgb[::-1][::-1],
        'of floats': rgb / 255,
        'of float32': rgb.astype(np.float32) / 255,
        'tensor': chw,
        'not contiguous': chw.permute(1, 2, 0).contiguous().permute(2, 0, 1),
        'double': chw.double(),
    }


def test_all_kinds_are_the_same_image(rgb, tmp_path):
    for kind, image in every_kind(rgb, tmp_path).items():
        loaded = load_image(image, 3, with_source=True)
        assert loaded.size_hw == (5, 9), kind
        expected = torch.from_numpy(rgb).permute(2, 0, 1) / 255
        torch.testing.assert_close(as_unit(loaded), expected, msg=kind)
        assert (
            loaded.source.dtype == np.uint8 and loaded.source.flags.writeable
        )
        # Floating-point pixels are cut off, as upstream does it.
        off = np.abs(loaded.source.astype(int) - rgb).max()
        assert off <= (1 if loaded.pixels.dtype != torch.uint8 else 0), kind


def test_the_source_is_a_copy(rgb):
    image = rgb.copy()
    loaded = load_image(image, 3, with_source=True)
    loaded.source[:] = 0
    assert (image == rgb).all() and as_unit(loaded).max() > 0
    assert load_image(rgb, 3, with_source=False).source is None


def test_grey_pictures_become_rgb_and_grey_arrays_do_not(rgb):
    grey = Image.fromarray(rgb).convert('L')
    assert len(load_image(grey, 3, False).pixels) == 3
    assert len(load_image(np.asarray(grey), 1, False).pixels) == 1
    with pytest.raises(InputError, match=r'C=3 .* got \(1, 5, 9\)'):
        load_image(np.asarray(grey), 3, False)


def test_web_addresses(rgb, tmp_path):
    Image.fromarray(rgb).save(tmp_path / 'a.png')
    content = (tmp_path / 'a.png').read_bytes()
    with file_server() as server:
        server.files = {'/a.png': content, '/b.png': b'<html>'}
        loaded = load_image(f'{server.url}/a.png', 3, True)
        assert (loaded.source == rgb).all()
        with pytest.raises(InputError, match='b.png cannot be read'):
            load_image(f'{server.url}/b.png', 3, True)
        with pytest.raises(ConnectionError, match='c.png could not be fetch'):
            load_image(f'{server.url}/c.png', 3, True)
        server.plan = [Answer(cut=20)]
        with pytest.raises(ConnectionError, match='a.png could not be fetch'):
            load_image(f'{server.url}/a.png', 3, True)


ONES = torch.ones(3, 4, 6)


@pytest.mark.parametrize(
    'image, error, message',
    [
        (ONES * 1.01, InputError, r'values above 1 \(up to 1.01\)'),
        (ONES * -0.5, InputError, r'values below 0 \(down to -0.5\)'),
        (ONES * float('nan'), InputError, 'not finite'),
        (ONES.to(torch.uint8) * 255, InputError, 'above 1'),
        (np.full((4, 6, 3), 200, np.int32), InputError, 'above 1'),
        (np.full((4, 6, 3), 200.0), InputError, 'above 1'),
        (torch.ones(4, 6, 3), InputError, r'C=3 .* got \(4, 6, 3\)'),
        (torch.ones(4, 6), InputError, r'got \(4, 6\)'),
        (torch.ones(1, 3, 4, 6), InputError, r'got \(1, 3, 4, 6\)'),
        (torch.ones(4, 8, 8), InputError, r'got \(4, 8, 8\)'),
        (torch.ones(3, 0, 8), InputError, r'got \(3, 0, 8\)'),
        (np.ones((2, 4, 6, 3)), InputError, r'\(H, W, 3\), got \(2, 4, 6, 3'),
        (np.zeros((0, 6, 3), np.uint8), InputError, r'got \(3, 0, 6\)'),
        ('no such.jpg', FileNotFoundError, 'no image file no such.jpg'),
        (__file__, InputError, 'cannot be read'),
        (None, TypeError, 'got NoneType'),
        (7, TypeError, 'got int'),
    ],
)
def test_bad_images(image, error, message):
    with pytest.raises(error, match=message):
        load_image(image, 3, True)


def test_a_truncated_file_is_named(rgb, tmp_path):
    path = tmp_path / 'half.png'
    Image.fromarray(np.tile(rgb, (9, 9, 1))).save(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=re.escape(str(path))):
        load_image(path, 3, True)


def test_a_batch_of_images_of_all_sizes(rgb):
    """Not antialiased: every second pixel decides when the size is halved."""
    stripes = np.zeros((8, 12, 3), np.uint8)
    stripes[:, ::3] = 255
    mean, std = torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.25)
    images = [load_image(image, 3, False) for image in (stripes, rgb)]
    batch = make_batch(images, (8, 4), mean, std)
    assert batch.shape == (2, 3, 8, 4) and batch.dtype == torch.float32
    # Thirds: the middle of three pixels is taken, which is black.
    assert torch.equal(batch[0], torch.full((3, 8, 4), -2.0))
    same = LoadedImage(torch.rand(3, 8, 4), None)
    torch.testing.assert_close(
        make_batch([same], (8, 4), mean, std)[0], (same.pixels - 0.5) / 0.25
    )
