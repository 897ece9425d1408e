"""Images that static quantisation learns from."""

import h5py
import numpy as np
import pytest
from mmdeploy.apis import build_task_processor
from PIL import Image
from small_export import HW, config

from rfdetr_mm.deploy.calibration import (
    evenly,
    folder_calibration,
    read_calibration,
)
from rfdetr_mm.deploy.export import deploy_config
from rfdetr_mm.errors import InputError


@pytest.fixture(scope='module')
def task():
    deploy_cfg = deploy_config('detection', 'openvino', input_size=HW)
    return build_task_processor(config(), deploy_cfg, 'cpu')


def test_folder_is_read_as_the_model_tests(tmp_path, task):
    for name, value in (('b.png', 255), ('a.jpg', 0), ('c.txt', 0)):
        if name.endswith('.txt'):
            (tmp_path / name).write_text('no image')
            continue
        array = np.full((30, 50, 3), value, np.uint8)
        Image.fromarray(array).save(tmp_path / name)
    black, white = folder_calibration(tmp_path, task)
    assert black.shape == white.shape == (1, 3, *HW)
    np.testing.assert_allclose(black[0, 0], -123.675 / 58.395, rtol=1e-5)
    np.testing.assert_allclose(white[0, 2], (255 - 103.53) / 57.375, rtol=1e-5)


def test_pixels_are_those_of_training(tmp_path, task):
    """16 bits, and no turning by EXIF, as everywhere."""
    grey = np.arange(1500, dtype=np.uint16).reshape(30, 50) * 43
    Image.fromarray(grey).save(tmp_path / 'a.png')
    Image.fromarray((grey >> 8).astype(np.uint8)).save(tmp_path / 'b.png')
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray((grey >> 8).astype(np.uint8)).save(
        tmp_path / 'c.png', exif=exif
    )
    deep, plain, turned = folder_calibration(tmp_path, task)
    np.testing.assert_array_equal(deep, plain)
    np.testing.assert_array_equal(turned, plain)


def test_what_is_no_image_is_left_out(tmp_path, task):
    Image.new('RGB', (50, 30)).save(tmp_path / 'a.png')
    (tmp_path / '._a.jpg').write_bytes(b'what macOS writes')
    (tmp_path / 'x.jpg').mkdir()
    with pytest.warns(UserWarning, match='2 names .* left out'):
        assert len(list(folder_calibration(tmp_path, task))) == 1
    with pytest.raises(InputError, match="'', for .*, is not a folder"):
        folder_calibration('', task)


def test_folders_without_images_are_refused(tmp_path, task):
    with pytest.raises(InputError, match='is not a folder'):
        folder_calibration(tmp_path / 'missing', task)
    with pytest.raises(InputError, match='has no image'):
        folder_calibration(tmp_path, task)
    (tmp_path / 'a.jpg').write_bytes(b'no image')
    with pytest.raises(InputError, match='a.jpg, for calibration'):
        list(folder_calibration(tmp_path, task))


def write_h5(path, images):
    with h5py.File(path, 'w') as file:
        group = file.create_group('calib_data/end2end/input')
        for i, image in enumerate(images):
            group.create_dataset(str(i), data=image)


def test_mmdeploys_file_is_read_evenly(tmp_path):
    file = tmp_path / 'calib_data.h5'
    write_h5(file, [np.full((1, 3, 2, 4), i) for i in range(250)])
    images = read_calibration(file)
    values = [int(image.max()) for image in images]
    assert len(values) == 100
    assert values == sorted(values)  # not '10' before '2'
    assert values[:3] == [0, 2, 5]
    assert values[-1] == 247
    assert images[0].dtype == np.float32


def test_files_without_images_are_refused(tmp_path):
    for file in (None, tmp_path / 'missing.h5'):
        with pytest.raises(InputError, match='needs images to calibrate'):
            read_calibration(file)
    broken = tmp_path / 'broken.h5'
    broken.write_bytes(b'no HDF5')
    with pytest.raises(InputError, match='is not a calibration file'):
        read_calibration(broken)
    empty = tmp_path / 'empty.h5'
    write_h5(empty, [])
    with pytest.raises(InputError, match='holds no image'):
        read_calibration(empty)


def test_evenly():
    assert evenly([1, 2, 3], 3) == [1, 2, 3]
    assert evenly([0, 1, 2, 3, 4], 2) == [0, 2]
