import copy
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmdet.structures.mask import PolygonMasks
from mmengine.logging import MMLogger
from torch.utils.data import DataLoader

from rfdetr_mm.errors import InputError
from tests.data_factory import CLASSES, write_coco

SIZES_HW = [(40, 60), (60, 40), (48, 48), (30, 80)]


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('coco') / 'set'
    return write_coco(folder, SIZES_HW, empty=(2,))


def content_of(root: Path) -> dict:
    return json.loads((root / 'annotations.json').read_text())


def build(root: Path, content: dict | None = None, **options):
    """Our data set on the images of ``root``, maybe with other content."""
    ann_file = 'annotations.json'
    if content is not None:
        ann_file = 'changed.json'
        (root / ann_file).write_text(json.dumps(content))
    given = dict(
        type='NamedCocoDataset',
        serialize_data=False,  # quicker
        data_root=str(root),
        ann_file=ann_file,
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=CLASSES),
    )
    return DATASETS.build({**given, **options})


def one_image(*bboxes, **fields) -> dict:
    """Content: the first image, 40 x 60 pixels, with these boxes."""
    return dict(
        images=[dict(id=1, file_name='1.png', height=40, width=60)],
        annotations=[
            dict(id=n, image_id=1, category_id=7, bbox=bbox, **fields)
            for n, bbox in enumerate(bboxes)
        ],
        categories=[dict(id=7, name='disc'), dict(id=3, name='square')],
    )


def summary(dataset) -> list:
    """Of each image: file name, and per box the corners and the name."""
    names = dataset.metainfo['classes']
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [
        (
            Path(info['img_path']).name,
            [(i['bbox'], names[i['bbox_label']]) for i in info['instances']],
        )
        for info in infos
    ]


def rewritten(content: dict, how: str) -> dict:
    """The same data set, written in another way."""
    content = copy.deepcopy(content)
    if how == 'other order':
        content['categories'].reverse()
    elif how == 'other ids':
        new = {7: 1, 3: 12}
        for category in content['categories']:
            category['id'] = new[category['id']]
        for annotation in content['annotations']:
            annotation['category_id'] = new[annotation['category_id']]
    elif how == 'ids as text':
        for entry in content['categories'] + content['images']:
            entry['id'] = str(entry['id'])
        for annotation in content['annotations']:
            annotation['category_id'] = str(annotation['category_id'])
            annotation['image_id'] = str(annotation['image_id'])
    elif how == 'more categories':
        content['categories'].insert(0, dict(id=1, name='unused'))
        content['categories'].append(dict(id=0, name='root'))
    return content


@pytest.mark.parametrize(
    'how', ['other order', 'other ids', 'ids as text', 'more categories']
)
@pytest.mark.parametrize('test_mode', [False, True])
@pytest.mark.parametrize('classes', [CLASSES, CLASSES[::-1]])
def test_labels_do_not_depend_on_the_writing(root, how, test_mode, classes):
    options = dict(metainfo=dict(classes=classes), test_mode=test_mode)
    plain = build(root, **options)
    other = build(root, rewritten(content_of(root), how), **options)
    assert summary(other) == summary(plain)
    names = {name for _, boxes in summary(plain) for _, name in boxes}
    assert names == set(CLASSES)
    assert [plain.get_data_info(i)['img_id'] for i in range(4)] == [1, 2, 3, 4]


def test_the_stock_data_set_fails_the_same_test(root):
    """A negative control of the test above."""
    (root / 'b.json').write_text(
        json.dumps(rewritten(content_of(root), 'other order'))
    )
    files = ('annotations.json', 'b.json')
    options = dict(
        data_root=str(root),
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=CLASSES),
    )
    first, second = (CocoDataset(ann_file=f, **options) for f in files)
    assert summary(first) != summary(second)


def test_an_equal_file_gives_what_the_stock_data_set_gives(root):
    options = dict(filter_cfg=dict(filter_empty_gt=True, min_size=40))
    ours = build(root, **options)
    stock = build(root, type='CocoDataset', **options)
    assert len(ours) == len(stock) == 2
    for i in range(2):
        info, expected = ours.get_data_info(i), stock.get_data_info(i)
        assert info == expected
    assert ours.metainfo == stock.metainfo


def test_a_class_that_the_file_lacks(root, log_lines):
    content = content_of(root)
    content['annotations'] = [
        a for a in content['annotations'] if a['category_id'] == 3
    ]
    content['categories'] = [c for c in content['categories'] if c['id'] == 3]
    options = dict(filter_cfg=dict(filter_empty_gt=True))
    dataset = build(root, content, **options)
    names = {name for _, boxes in summary(dataset) for _, name in boxes}
    assert names == {'square'}
    assert dataset.cat_ids == [3] and dataset.cat2label == {3: 1}
    lines = [line for line in log_lines if 'no category for' in line]
    assert len(lines) == 1 and '1 of 2 classes: disc.' in lines[0]


def test_without_classes_they_are_cocos(root):
    with pytest.raises(ValueError, match='none of the classes.*person, bicyc'):
        build(root, metainfo=None)
    content = content_of(root)
    content['categories'][0]['name'] = 'cat'
    content['categories'][1]['name'] = 'person'
    dataset = build(root, content, metainfo=None)
    labels = {
        instance['bbox_label']
        for i in range(4)
        for instance in dataset.get_data_info(i)['instances']
    }
    assert labels == {0, 15} and len(dataset.metainfo['classes']) == 80


@pytest.mark.parametrize(
    'bbox, expected',
    [
        ([2, 3, 10, 20], [2, 3, 12, 23]),
        ([50, 30, 20, 20], [50, 30, 60, 40]),
        ([-2, -3, 4, 5], [0, 0, 2, 2]),
        ([5, 5, 0.5, 0.25], [5, 5, 5.5, 5.25]),  # mmdet drops it
        ([5, 5, 0, 4], None),
        ([5, 5, 4, -2], None),
        ([60, 5, 4, 4], None),
        ([5, 40, 4, 4], None),
    ],
)
def test_boxes_lie_in_their_image(root, bbox, expected):
    dataset = build(root, one_image([0, 0, 9, 9], bbox))
    boxes = [i['bbox'] for i in dataset.get_data_info(0)['instances']]
    assert boxes == [[0, 0, 9, 9], *([expected] if expected else [])]


def test_an_area_of_zero_does_not_drop_a_box(root):
    dataset = build(root, one_image([1, 2, 3, 4], area=0))
    assert len(dataset.get_data_info(0)['instances']) == 1


def test_one_line_counts_what_happened(root, log_lines):
    content = one_image(
        [2, 3, 10, 20],
        [5, 5, 5.001, 5],
        [50, 30, 20, 20],
        [40, 30, 20.001, 5],  # rounding
        [5, 5, 0, 4],
        [5, 5, 4, -2],
        [60, 5, 4, 4],
        [70, 5, 4, 4],
        [5, 50, 4, 4],
    )
    content['annotations'][1]['iscrowd'] = 1
    build(root, content)
    (line, unlisted) = log_lines
    assert '3 image files beside its own are not listed' in unlisted
    for part in (
        'changed.json: 1 images, 3 boxes and 1 crowds or ignored boxes',
        '1 of them cut at the border',
        '2 boxes without area, 3 wholly outside',
    ):
        assert part in line


@pytest.mark.parametrize('field', ['iscrowd', 'ignore'])
def test_crowds_are_not_trained_on(root, field):
    content = one_image([1, 2, 30, 20], [5, 6, 7, 8])
    content['annotations'][0][field] = 1
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='PackDetInputs'),
    ]
    sample = build(root, content, pipeline=pipeline)[0]['data_samples']
    assert sample.gt_instances.bboxes.tensor.tolist() == [[5, 6, 12, 14]]
    assert sample.ignored_instances.bboxes.tensor.tolist() == [[1, 2, 31, 22]]


def test_polygons_reach_the_masks(root):
    polygon = [[1, 2, 11, 2, 11, 22]]
    content = one_image([1, 2, 10, 20], segmentation=polygon)
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_mask=True, poly2mask=False),
    ]
    masks = build(root, content, pipeline=pipeline)[0]['gt_masks']
    assert isinstance(masks, PolygonMasks)
    assert masks.masks[0][0].tolist() == polygon[0]


@pytest.mark.parametrize(
    'content',
    [
        one_image(),
        one_image([5, 5, 0, 4], [60, 5, 4, 4]),
        one_image([5, 5, 4, 4], iscrowd=1),
    ],
    ids=['nothing', 'nothing left', 'crowds only'],
)
def test_training_needs_a_box(root, content):
    with pytest.raises(ValueError, match='no box to train on.*changed.json'):
        build(root, content)
    assert len(build(root, content, test_mode=True)) == 1


def test_images_are_kept_or_dropped_by_what_is_left(root):
    content = one_image([5, 5, 9, 4])
    content['images'].append(
        dict(id=2, file_name='2.png', height=60, width=40)
    )
    content['annotations'].append(
        dict(id=9, image_id=2, category_id=3, bbox=[70, 5, 4, 4])
    )
    assert len(build(root, content)) == 2
    filter_cfg = dict(filter_empty_gt=True)
    assert len(build(root, content, filter_cfg=filter_cfg)) == 1
    filter_cfg = dict(min_size=1000)
    with pytest.raises(ValueError, match='min_size.*leaves none of 2 images'):
        build(root, content, filter_cfg=filter_cfg)


def test_missing_images_are_counted_and_named(root):
    content = content_of(root)
    for number in (0, 1, 2, 3):
        content['images'][number]['file_name'] = f'sub/{number}.png'
    with pytest.raises(ValueError) as error:
        build(root, content)
    for part in (
        '4 of 4 image files',
        'sub/0.png',
        'sub/2.png, …',
        f'{root}/images/.',
        'data_prefix.img',
    ):
        assert part in str(error.value)
    assert '3.png' not in str(error.value)
    content = content_of(root)
    content['images'][1]['file_name'] = 'gone.png'
    with pytest.raises(ValueError, match='1 of 4 .*gone.png. Looked') as error:
        build(root, content, test_mode=True)
    assert 'not exist' not in str(error.value)


def test_a_missing_image_folder_is_said(root):
    prefix = dict(img='nowhere/')
    with pytest.raises(ValueError, match='nowhere/, which does not exist'):
        build(root, data_prefix=prefix)


def test_images_elsewhere_are_not_looked_for(root):
    prefix = dict(img='s3://bucket/images/')
    assert len(build(root, data_prefix=prefix)) == 4


def test_names_in_folders_and_without_any(root, monkeypatch):
    content = content_of(root)
    for image in content['images']:
        image['file_name'] = 'images/..//images//' + image['file_name']
    assert len(build(root, content, data_prefix=dict(img=''))) == 4
    monkeypatch.chdir(root / 'images')
    options = dict(data_root='', data_prefix=dict(img=''))
    ann_file = str(root / 'annotations.json')
    assert len(build(root, ann_file=ann_file, **options)) == 4


def test_a_lazy_data_set_reads_at_its_first_use(root):
    dataset = build(root, ann_file='nowhere.json', lazy_init=True)
    with pytest.raises(ValueError, match='no annotation file .*nowhere.json'):
        dataset.full_init()


@pytest.fixture
def log_file(tmp_path):
    """What mmengine's current logger writes, also in other processes."""
    path = tmp_path / 'a.log'
    handler = logging.FileHandler(path)
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield path
    logger.removeHandler(handler)
    handler.close()


def test_workers_of_a_lazy_data_set_do_not_log(root, log_file):
    pipeline = [dict(type='LoadImageFromFile')]
    dataset = build(root, lazy_init=True, pipeline=pipeline)
    loader = DataLoader(
        dataset,
        num_workers=2,
        sampler=[0, 1, 2, 3],
        collate_fn=lambda batch: batch[0]['img_id'],
    )
    assert sorted(loader) == [1, 2, 3, 4]
    assert 'annotations.json: 4 images' not in log_file.read_text()
    dataset.full_init()
    assert log_file.read_text().count('annotations.json: 4 images') == 1


def test_the_stock_loader_is_checked(root):
    content = content_of(root)
    content['images'][0].update(height=60, width=40)
    pipeline = [dict(type='LoadImageFromFile', imdecode_backend='pillow')]
    dataset = build(root, content, pipeline=pipeline, test_mode=True)
    with pytest.raises(ValueError, match='1.png.*40 x 60.*60 x 40.*EXIF'):
        dataset[0]
    assert dataset[1]['img'].shape == (60, 40, 3)


@pytest.fixture
def broken(tmp_path):
    """Four images, of which the second cannot be decoded."""
    root = write_coco(tmp_path / 'set', SIZES_HW)
    (root / 'images' / '2.png').write_bytes(b'no picture')
    return root


SKIPPING = [dict(type='LoadCheckedImage', skip_unreadable=True)]


def test_training_draws_another_image(broken, log_lines):
    np.random.seed(0)
    dataset = build(broken, pipeline=SKIPPING)
    log_lines.clear()
    ids = [dataset[1]['img_id'] for _ in range(20)]
    assert set(ids) == {1, 3, 4}
    (line,) = log_lines
    assert '2.png (id 2) cannot be read' in line and '(1 skipped' in line


def test_evaluation_does_not(broken):
    pipeline = [dict(type='LoadImageFromFile')]
    dataset = build(broken, pipeline=pipeline, test_mode=True)
    with pytest.raises(ValueError, match=r'2.png \(id 2\) cannot be read'):
        dataset[1]
    dataset = build(broken, pipeline=SKIPPING, test_mode=True)
    with pytest.raises(Exception, match='should not get `None`'):
        dataset[1]


def test_only_unreadable_images_are_an_error(broken, log_lines):
    for path in (broken / 'images').iterdir():
        path.write_bytes(b'no picture')
    dataset = build(broken, pipeline=SKIPPING)
    with pytest.raises(ValueError, match='200 images in a row.*png.*read'):
        dataset[0]
    assert len([line for line in log_lines if 'skipped' in line]) == 4


MASKED = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
]


def with_masks(*segmentations) -> dict:
    content = one_image(*[[10, 10, 20, 16]] * len(segmentations))
    for annotation, found in zip(content['annotations'], segmentations):
        if found is not None:
            annotation['segmentation'] = found
    return content


def test_objects_without_a_usable_mask_are_left_out(root, log_lines):
    whole = [[10, 10, 30, 10, 30, 26, 10, 26]]
    content = with_masks(whole, None, [], [[10, 10, 30, 26]], whole)
    content['annotations'][4]['iscrowd'] = 1
    masks = build(root, content, pipeline=MASKED)
    kept = masks.get_data_info(0)['instances']
    assert [i['mask'] for i in kept] == [whole, whole]
    (line,) = [line for line in log_lines if 'masks' in line]
    assert '2 objects without mask, 1 with a mask without area' in line
    sample = masks[0]
    for mask in sample['gt_masks'].masks:
        assert mask.shape == (40, 60) and mask[10:26, 10:30].all()
        assert mask.sum() == 20 * 16
    assert list(sample['gt_ignore_flags']) == [False, True]
    # Without masks in the pipeline they do not matter.
    assert len(build(root, content).get_data_info(0)['instances']) == 5


@pytest.mark.parametrize('found', [None, [[1, 1, 2, 2]]])
def test_no_mask_at_all_is_an_error(root, found):
    with pytest.raises(InputError, match='no mask to train on.*1 '):
        build(root, with_masks(found), pipeline=MASKED)
    build(root, with_masks(found), pipeline=MASKED, test_mode=True)


def test_a_mask_of_another_size_is_an_error(root):
    rle = dict(size=[60, 40], counts=[100, 2300])
    with pytest.raises(InputError, match=r'\[60, 40\], but its image'):
        build(root, with_masks(rle), pipeline=MASKED)


def test_parts_without_area_are_left_out_of_a_mask(root, log_lines):
    whole = [10, 10, 30, 10, 30, 26, 10, 26]
    content = with_masks([whole, [1, 1, 5, 3]], [[], whole], [whole])
    masks = build(root, content, pipeline=MASKED)
    kept = masks.get_data_info(0)['instances']
    assert [i['mask'] for i in kept] == [[whole]] * 3
    assert masks[0]['gt_masks'].masks.sum() == 3 * 20 * 16
    assert '2 polygons without area of masks that are' in log_lines[0]
