"""COCO files in the forms of real exporters, and what images may hide."""

import pytest
from PIL import Image

from rfdetr_mm.errors import InputError
from tests.data_factory import write_coco
from tests.datasets.test_named_coco import (
    SIZES_HW,
    build,
    content_of,
    one_image,
    summary,
)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('coco') / 'set'
    return write_coco(folder, SIZES_HW, empty=(2,))


def test_images_that_are_not_listed_are_counted(root, log_lines):
    build(root, one_image([5, 5, 4, 4]))
    (line,) = [line for line in log_lines if 'not listed' in line]
    assert ': 3 image files' in line and '2.png' in line
    assert 'background' in line
    log_lines.clear()
    build(root)
    assert not any('not listed' in line for line in log_lines)


@pytest.mark.parametrize('how', ['null', 'missing'])
def test_sizes_that_the_file_lacks_are_read(root, log_lines, how):
    """label-studio-sdk writes null for images without objects."""
    content = content_of(root)
    expected = summary(build(root, content))
    for image in content['images'][1:3]:
        for key in ('height', 'width'):
            image[key] = None
            if how == 'missing':
                del image[key]
    log_lines.clear()
    dataset = build(root, content)
    assert summary(dataset) == expected
    sizes = [dataset.get_data_info(i) for i in range(4)]
    assert [(s['height'], s['width']) for s in sizes] == SIZES_HW
    (line,) = [line for line in log_lines if 'read from' in line]
    assert '2 of 4 images' in line


def test_sizes_of_images_that_are_not_there(root):
    content = one_image([5, 5, 4, 4])
    content['images'][0].update(height=None, width=None, file_name='no.png')
    with pytest.raises(InputError, match='no height and width of .*no.png'):
        build(root, content)


def test_many_crowds_are_a_warning_with_a_way_out(root, log_lines):
    """As supervision and datumaro write masks."""
    content = one_image(*[[5, 5, 4, 4]] * 8)
    for annotation in content['annotations'][:5]:
        annotation['iscrowd'] = 1
    crowds = build(root, content).get_data_info(0)['instances']
    assert sum(i['ignore_flag'] for i in crowds) == 5
    line = log_lines[0]
    assert '5 of 8 objects are marked as crowds' in line
    assert 'crowd_as_object=True' in line
    log_lines.clear()
    dataset = build(root, content, crowd_as_object=True)
    objects = dataset.get_data_info(0)['instances']
    assert not any(i['ignore_flag'] for i in objects)
    assert 'marked as crowds' not in log_lines[0]
    with pytest.raises(InputError, match='to train on.*1 of 1.*crowd_as_o'):
        build(root, one_image([5, 5, 4, 4], iscrowd=1))


def test_few_crowds_are_as_in_coco(root, log_lines):
    content = one_image(*[[5, 5, 4, 4]] * 12)
    content['annotations'][0]['iscrowd'] = 1
    build(root, content)
    assert not any('marked as crowds' in line for line in log_lines)


@pytest.mark.parametrize(
    'orientation, height, width, is_said',
    [
        (1, 40, 60, False),
        (3, 40, 60, True),
        (2, 40, 60, True),
        (6, 40, 60, False),  # the size tells that the stored one is meant
        (6, 50, 50, True),
    ],
)
def test_turned_pictures_that_sizes_do_not_show(
    tmp_path, log_lines, orientation, height, width, is_said
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.new('RGB', (width, height))
    (tmp_path / 'images').mkdir()
    picture.save(tmp_path / 'images/1.png', exif=exif)
    content = one_image([5, 5, 4, 4])
    content['images'][0].update(height=height, width=width)
    loader = dict(
        type='LoadImageFromFile',
        imdecode_backend='pillow',
        color_type='color_ignore_orientation',
    )
    build(tmp_path, content, pipeline=[loader])
    found = [line for line in log_lines if 'EXIF' in line]
    assert len(found) == is_said
    if is_said:
        assert '1 of 1 images have an EXIF orientation' in found[0]
        assert f'1.png ({orientation})' in found[0]
