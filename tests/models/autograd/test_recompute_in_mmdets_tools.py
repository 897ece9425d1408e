"""What mmdet's own tools take our configs and models for."""

from functools import partial

import pytest
import torch
from mmdet.datasets import get_loading_pipeline
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config

from tests import small_detector
from tests.small_detector import CONFIG


@pytest.mark.parametrize(
    'name',
    ['rfdetr/rfdetr_nano_coco.py', 'rfdetr_seg/rfdetr-seg_nano_coco.py'],
)
def test_analyze_results_finds_the_loader(name):
    cfg = Config.fromfile(CONFIG.parents[1] / name)
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        found = get_loading_pipeline(loader.dataset.pipeline)
        assert [step.type for step in found] == [
            'LoadImageFromFile',
            'LoadAnnotations',
        ]


@pytest.mark.parametrize('name', ['voc', 'objects365'])
def test_data_sets_of_mmdet_name_the_loader_that_has_the_options(name):
    cfg = Config.fromfile(CONFIG.parent / f'rfdetr_nano_{name}.py')
    loader = cfg.train_dataloader.dataset.pipeline[0]
    assert (loader.type, loader.draft_size) == ('LoadCheckedImage', 600)


def test_get_flops_counts_what_predicting_takes():
    """The tool traces with gradients, our benchmark without."""
    model = small_detector.build()[0].eval()
    images = torch.rand(1, 3, 64, 64)
    samples = small_detector.batch(0, [2], (64, 64))['data_samples']
    samples[0].set_metainfo(dict(batch_input_shape=(64, 64)))
    model.forward = partial(model.forward, data_samples=samples)
    count = partial(
        get_model_complexity_info,
        model,
        None,
        inputs=images,
        show_table=False,
        show_arch=False,
    )
    with_gradients = count()['flops']
    with torch.no_grad():
        assert with_gradients == count()['flops'] > 1e6
