"""Data sets of the YOLO layout, broken by a table and by chance."""

import contextlib
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from mmdet.registry import DATASETS
from PIL import Image

from rfdetr_mm.datasets.inspection import inspect_data_set
from rfdetr_mm.datasets.yolo_layout import find_yolo_yamls
from rfdetr_mm.errors import InputError
from tests.faults import (
    Case,
    Target,
    broken_texts,
    changed_cases,
    draw_change,
    draw_text,
    fuzz,
    run_table,
    size_of_table,
)

YAML = dict(
    path='.',
    train='images/train',
    val=['images/val'],
    test='',
    nc=2,
    names={0: 'cat', 3: 'dog'},
)
LABELS = '0 0.5 0.5 0.25 0.5\n3 0.1 0.1 0.5 0.1 0.5 0.6 0.1 0.6\n'
KEYPOINTS = dict(
    YAML,
    kpt_shape=[2, 3],
    flip_idx=[1, 0],
    kpt_names={0: ['left', 'right']},
)
WITH_POINTS = '0 0.5 0.5 0.25 0.5 0.1 0.1 2 0.3 0.3 1\n'
BOX = '0 0.5 0.5 0.5 0.5'
PIPELINES = (
    [dict(type='mmdet.LoadAnnotations', with_mask=True)],
    [dict(type='LoadPoseAnnotations')],
    [dict(type='LoadImageFromFile', color_type='color_ignore_orientation')],
)
LIST = 'images/train/1.png\n./images/train/2.png\n'
TOKENS = (
    *('', 'x', '-1', '-0', '0.5', '1', '1.0', '2', '1e3', '1e-400', '1e400'),
    *('nan', 'inf', '-inf', '0,5', '0x1', '1_0', '٣', '0.5.5', '1' * 500),
    *('\0', '#', "'0'", '١.٥', '--1', '+0.5', 'None', '0.5\u2028', '\ufeff0'),
)


@dataclass(frozen=True)
class Input:
    """The files of a data set.

    ``content`` is that of the YAML file, ``labels`` are those of one image,
    ``others`` of the others; ``change`` gets the folder.
    """

    content: object = None
    labels: object = LABELS
    others: str = BOX
    listed: object = None
    change: Callable[[Path], object] | None = None


def as_bytes(text):
    return text if isinstance(text, bytes) else text.encode('utf-8', 'replace')


def run(folder, data):
    for split in ('train', 'val'):
        for kind in ('images', 'labels'):
            (folder / kind / split).mkdir(parents=True)
    for split in ('train', 'val'):
        for name in ('1', '2'):
            Image.new('RGB', (8, 4)).save(
                folder / 'images' / split / f'{name}.png'
            )
        (folder / 'labels' / split / '2.txt').write_text(data.others)
    (folder / 'labels/train/1.txt').write_bytes(as_bytes(data.labels))
    content = data.content
    if not isinstance(content, bytes):
        content = yaml.safe_dump(content, allow_unicode=False).encode()
    (folder / 'data.yaml').write_bytes(content)
    if data.listed is not None:
        (folder / 'train.txt').write_bytes(as_bytes(data.listed))
    if data.change is not None:
        data.change(folder)
    options = dict(
        type='YoloDataset',
        data_root=str(folder),
        ann_file='data.yaml',
        serialize_data=False,
    )
    dataset = DATASETS.build(options)
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        for instance in info['instances']:
            x1, y1, x2, y2 = instance['bbox']
            assert 0 <= x1 < x2 <= 8 and 0 <= y1 < y2 <= 4
    # Not every data set has masks or keypoints.
    for pipeline in PIPELINES:
        for test_mode in (False, True):
            with contextlib.suppress(InputError):
                DATASETS.build(
                    dict(options, pipeline=pipeline, test_mode=test_mode)
                )
    DATASETS.build(dict(options, with_mask=False))
    few = dict(filter_empty_gt=True, min_size=5)
    DATASETS.build(dict(options, filter_cfg=few))
    for classes in (('dog', 'cat', 'cow'), ('cat',)):
        with contextlib.suppress(InputError):
            DATASETS.build(dict(options, metainfo=dict(classes=classes)))
    inspect_data_set(str(folder))


def turn(folder):
    path = folder / 'images/train/1.png'
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (8, 4)).save(path, exif=exif)


def put_elsewhere(folder):
    """A YAML file of another name, and images beside the data set."""
    (folder / 'data.yaml').rename(folder / 'mine.yaml')
    find_yolo_yamls(str(folder))
    find_yolo_yamls(str(folder / 'nowhere'))
    (folder / 'broken.yaml').write_text('[')
    (folder / 'folder.yaml').mkdir()
    find_yolo_yamls(str(folder))
    (folder / 'mine.yaml').rename(folder / 'data.yaml')


def without_images_in_the_path(folder):
    """Labels beside the images, in folders of other names."""
    photos = folder / 'photos'
    shutil.copytree(folder / 'images/train', photos)
    for path in (folder / 'labels/train').iterdir():
        shutil.copy(path, photos)
    (folder / 'data.yaml').write_text(
        yaml.safe_dump(dict(YAML, train='photos'))
    )


def far_away(folder):
    """A list of images that lie in another folder than the YAML file."""
    other = folder.parent / 'elsewhere'
    shutil.rmtree(other, ignore_errors=True)
    for kind in ('images', 'labels'):
        shutil.copytree(folder / kind / 'train', other / kind)
    (folder / 'train.txt').write_text(f'{other}/images/1.png\n')
    (folder / 'data.yaml').write_text(
        yaml.safe_dump(dict(YAML, train='train.txt'))
    )


CHANGES = {
    'labels beside images of another folder': without_images_in_the_path,
    'images far away': far_away,
    'turned image': turn,
    'empty image': lambda f: (f / 'images/train/1.png').write_bytes(b''),
    'no label file': lambda f: (f / 'labels/train/1.txt').unlink(),
    'folder for a label file': lambda f: (
        (f / 'labels/train/2.txt').unlink(),
        (f / 'labels/train/2.txt').mkdir(),
    ),
    'no labels': lambda f: shutil.rmtree(f / 'labels'),
    'no images': lambda f: [
        path.unlink() for path in (f / 'images/train').iterdir()
    ],
    'no folder of images': lambda f: shutil.rmtree(f / 'images/train'),
    'no YAML file': lambda f: (f / 'data.yaml').unlink(),
    'YAML file of another name': put_elsewhere,
    'labels beside images': lambda f: (f / 'labels').rename(f / 'other'),
}


def label_cases():
    lines = [*LABELS.splitlines()]
    for number, line in enumerate(lines):
        tokens = line.split()
        for i in range(len(tokens)):
            for token in TOKENS:
                broken = [*tokens[:i], token, *tokens[i + 1 :]]
                text = '\n'.join(
                    [*lines[:number], ' '.join(broken), *lines[number + 1 :]]
                )
                yield Case('label', f'{number}.{i} = {token!r:.30}', text)
        for count in range(len(tokens)):
            yield Case('short line', f'{count}', ' '.join(tokens[:count]))
            more = f'{line} {" ".join(["0.5"] * (count + 1))}'
            yield Case('long line', f'{count}', more)
    for case in broken_texts(LABELS):
        yield Case(f'labels: {case.kind}', case.name, case.data)


def cases():
    valid = Input(YAML)
    yield Case('valid', '', valid)
    for case in changed_cases(YAML):
        try:
            yaml.safe_dump(case.data)
        except (yaml.YAMLError, UnicodeError):
            continue
        yield Case(f'YAML: {case.kind}', case.name, Input(case.data))
    text = yaml.safe_dump(YAML)
    for case in broken_texts(text):
        yield Case(f'YAML: {case.kind}', case.name, Input(case.data))
    for kind, more in (
        ('tag that runs code', '!!python/object/apply:os.system ["true"]'),
        ('unknown tag', 'x: !thing 1'),
        ('alias', 'a: &a [1]\nb: *a'),
        ('unknown alias', 'a: *b'),
        ('alias of itself', 'a: &a [*a]'),
        ('two documents', '---\na: 1'),
        ('tab', 'a:\n\t- 1'),
        ('date', 'train: 2024-01-02'),
        ('key that is a list', '? [1, 2]\n: 3'),
        ('key repeated', 'names: [cat, dog]'),
    ):
        yield Case(f'YAML: {kind}', '', Input(f'{text}{more}\n'.encode()))
    for kind, change in CHANGES.items():
        yield Case(kind, '', replace(valid, change=change))
    for names in (['cat', 'cat'], {'0': 'a', 0: 'b'}, {0: 'a', 'x': 'b'}):
        yield Case('names', str(names), Input(dict(YAML, names=names)))
    no_splits = {k: v for k, v in YAML.items() if k not in ('train', 'val')}
    yield Case('splits by their folders', '', Input(no_splits))
    for case in label_cases():
        yield Case(case.kind, case.name, replace(valid, labels=case.data))
    keypoints = Input(KEYPOINTS, WITH_POINTS, WITH_POINTS)
    yield Case('keypoints: valid', '', keypoints)
    own = ('kpt_shape', 'flip_idx', 'kpt_names')
    for case in changed_cases({name: KEYPOINTS[name] for name in own}):
        data = replace(keypoints, content={**YAML, **case.data})
        yield Case(f'keypoints: {case.kind}', case.name, data)
    tokens = WITH_POINTS.split()
    for i in range(5, len(tokens)):
        for token in (*TOKENS, '3', '0'):
            text = ' '.join([*tokens[:i], token, *tokens[i + 1 :]])
            data = replace(keypoints, labels=text)
            yield Case('keypoints: number', f'{i} = {token!r:.30}', data)
    flat = replace(keypoints, content=dict(KEYPOINTS, kpt_shape=[3, 2]))
    yield Case('keypoints: other numbers of each', '', flat)
    listing = dict(YAML, train='train.txt')
    for case in broken_texts(LIST):
        data = Input(listing, listed=case.data)
        yield Case(f'list: {case.kind}', case.name, data)
    for line in (
        'no.png',
        'images',
        '..',
        '\0',
        '/',
        'data.yaml',
        '~',
        'a' * 500,
    ):
        data = Input(listing, listed=f'{LIST}{line}\n')
        yield Case('list: line', repr(line)[:30], data)


def draw(rng: random.Random) -> Case:
    how = rng.random()
    if how < 0.3:
        case = draw_change(YAML, rng)
        try:
            yaml.safe_dump(case.data)
        except (yaml.YAMLError, UnicodeError):
            return draw(rng)
        return Case(f'YAML: {case.kind}', case.name, Input(case.data))
    if how < 0.45:
        case = draw_text(yaml.safe_dump(YAML), rng)
        data = Input(case.data.encode())
        return Case(f'YAML: {case.kind}', case.name, data)
    if how < 0.8:
        case = draw_text(LABELS, rng)
        data = Input(YAML, case.data)
        return Case(f'labels: {case.kind}', case.name, data)
    if how < 0.9:
        case = draw_text(WITH_POINTS, rng)
        data = Input(KEYPOINTS, case.data, WITH_POINTS)
        return Case(f'keypoints: {case.kind}', case.name, data)
    case = draw_text(LIST, rng)
    data = Input(dict(YAML, train='train.txt'), listed=case.data)
    return Case(f'list: {case.kind}', case.name, data)


TARGET = Target(
    'YOLO data sets',
    cases,
    draw,
    run,
    ('cannot be read as YAML', 'cannot be read as text'),
    (
        'rfdetr_mm.datasets.yolo',
        'rfdetr_mm.datasets.yolo_labels',
        'rfdetr_mm.datasets.yolo_layout',
    ),
)


def test_the_table(tmp_path):
    num_cases, num_kinds = size_of_table(TARGET)
    assert num_cases > 1000 and num_kinds > 100
    tally = run_table(TARGET, tmp_path, 400)
    assert tally.total == 400 and tally.accepted > 50
    print(tally)


@pytest.mark.fuzz
def test_fuzz(tmp_path, fuzz_minutes):
    fuzz(TARGET, tmp_path, fuzz_minutes, seed=1)
