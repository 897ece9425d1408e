"""Data sets as labelling tools write them: each trains, or says what to do."""

import pytest
from mmdet.registry import DATASETS, METRICS
from mmengine.runner import Runner

from rfdetr_mm.datasets import resolve_own_data
from rfdetr_mm.datasets.inspection import inspect_data_set
from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.config_facts import set_resolution
from tests.datasets.test_own_data import custom_config
from tests.exporter_forms import (
    COCO_FORMS,
    NAMES,
    OBJECTS,
    REFUSED_FORMS,
    SIZES_HW,
    YOLO_FORMS,
)

FORMS = (*COCO_FORMS, *YOLO_FORMS)


def boxes_of(dataset):
    """File name to (class, corners rounded to half a pixel), sorted."""
    names = dataset.metainfo['classes']
    found = {}
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        assert (info['height'], info['width']) == SIZES_HW[
            info['img_path'].rpartition('/')[2]
        ]
        found[info['img_path'].rpartition('/')[2]] = sorted(
            (names[i['bbox_label']], [round(v * 2) / 2 for v in i['bbox']])
            for i in info['instances']
            if not i['ignore_flag']
        )
    return found


def truth():
    return {
        name: sorted(
            (NAMES[label], [x, y, x + w, y + h])
            for image, label, (x, y, w, h) in OBJECTS
            if image == name
        )
        for name in SIZES_HW
    }


@pytest.mark.parametrize('write', FORMS, ids=lambda f: f.__name__)
def test_each_form_is_read(tmp_path, write):
    write(tmp_path / 'set')
    cfg = custom_config(tmp_path / 'set')
    resolve_own_data(cfg)
    assert cfg.model.bbox_head.num_classes == 2
    for split in ('train', 'val'):
        config = cfg[f'{split}_dataloader'].dataset
        config.pipeline = []
        assert boxes_of(DATASETS.build(config)) == truth()
    METRICS.build(cfg.val_evaluator)
    found = inspect_data_set(str(tmp_path / 'set'))
    assert found.is_ok() and found.objects['train'].boxes == len(OBJECTS)


@pytest.mark.parametrize(
    'write, message',
    REFUSED_FORMS.items(),
    ids=lambda x: getattr(x, '__name__', ''),
)
def test_others_are_one_error_with_a_way_out(tmp_path, write, message):
    write(tmp_path / 'set')
    with pytest.raises(InputError, match=message):
        resolve_own_data(custom_config(tmp_path / 'set'))


@pytest.mark.slow
@pytest.mark.parametrize('write', FORMS, ids=lambda f: f.__name__)
def test_each_form_trains_one_step(tmp_path, write):
    write(tmp_path / 'set')
    cfg = custom_config(tmp_path / 'set')
    set_resolution(cfg, 64)
    cfg.model.backbone.update(
        arch='tiny', out_indices=(0, 1), global_attn_indices=(1,)
    )
    cfg.model.neck.in_channels = [192] * 2
    cfg.model.bbox_head.update(num_queries=8, num_groups=2)
    cfg.model.test_cfg.max_per_img = 8
    cfg.load_from = None
    cfg.work_dir = str(tmp_path / 'work')
    cfg.train_cfg = dict(
        type='IterBasedTrainLoop', max_iters=1, val_interval=1
    )
    cfg.param_scheduler = []
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
    resolve_own_data(cfg)
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 1
