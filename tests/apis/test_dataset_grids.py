"""A grid that cannot be drawn is no reason not to train."""

import pytest
from mmengine.config import Config
from PIL import Image

from rfdetr_mm.apis import dataset_grids
from rfdetr_mm.errors import InputError
from tests.datasets.test_keypoint_reader import PERSON, build, content


@pytest.mark.parametrize(
    'name, error',
    [
        ('register_all_modules', RuntimeError('no modules')),
        ('draw_samples', InputError('no image')),
        ('draw_samples', KeyError('RFDETRResize')),
        ('write_grid', OSError('disk full')),
    ],
)
def test_what_fails_is_a_warning(monkeypatch, tmp_path, name, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(dataset_grids, 'draw_samples', lambda *a, **k: [])
    monkeypatch.setattr(dataset_grids, name, fail)
    with pytest.warns(UserWarning) as caught:
        dataset_grids.save_grids(None, tmp_path)
    texts = [str(warning.message) for warning in caught]
    for split in ('train', 'val'):
        assert any(f'grid of the {split} images' in text for text in texts)


def test_grids_show_keypoints_where_they_are(tmp_path):
    """Also where they are loaded behind the resizing."""
    file = content(dict(PERSON, keypoints=[20, 10, 2, 0, 0, 0, 0, 0, 0]))
    build(tmp_path, file)
    for image in file['images']:
        Image.new('RGB', (60, 40)).save(tmp_path / image['file_name'])
    load = dict(type='LoadImageFromFile')
    resize = dict(type='RFDETRResize', scale=(120, 80))
    annotations = dict(type='LoadPoseAnnotations', with_bbox=True)
    pack = dict(type='PackPoseInputs')
    for pipeline in (
        [load, annotations, resize, pack],
        [load, resize, annotations, pack],
    ):
        dataset = dict(
            type='NamedCocoDataset',
            data_root=str(tmp_path),
            ann_file='file.json',
            data_prefix=dict(img=''),
            metainfo=dict(classes=('person', 'dot', 'wall')),
            pipeline=pipeline,
            filter_cfg=dict(filter_empty_gt=True),
        )
        cfg = Config(
            dict(
                train_dataloader=dict(dataset=dataset),
                model=dict(data_preprocessor=dict(bgr_to_rgb=True)),
            )
        )
        (picture,) = dataset_grids.draw_samples(cfg, 'train', 1, 0)
        assert picture.shape == (16 + 80, 120, 3)  # with a heading
        red, green, _ = picture[16 + 20, 40].astype(int)
        assert red > green + 100
