"""Memory that does not suffice is one line, everything else is not."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.visualization import Visualizer

from rfdetr_mm.datasets import resolve_own_data
from rfdetr_mm.engine.visualizer import ReadableDetVisualizer
from rfdetr_mm.errors import InputError, is_out_of_memory
from rfdetr_mm.models.detectors import RFDETR
from rfdetr_mm.sizes.config_facts import image_size, size_places
from tests.data_factory import write_layout
from tests.tools.test_own_data import CONFIG, ROOT, load_tool

CUSTOM = ROOT / 'configs/rfdetr/rfdetr_nano_custom.py'
CUDA = 'CUDA out of memory. Tried to allocate 2.00 GiB.'
MULTI_SCALE = """
model.update(data_preprocessor=dict(batch_augments=[dict(
    type='BatchMultiScaleResize', img_size=64, patch_size=16, num_windows=2,
    largest_first=True)]))
train_pipeline[3].scale = (224, 224)
"""


@pytest.fixture(scope='module')
def train():
    return load_tool('train')


@pytest.fixture
def run_config(train):
    import run_config

    return run_config


def read(run_config, path, **options):
    return run_config.read_config(
        SimpleNamespace(
            config=str(path),
            cfg_options=options,
            work_dir=None,
            launcher='none',
            local_rank=0,
        )
    )


@pytest.mark.parametrize('root', ['/new/place', '/new/place/'])
def test_data_root_moves_the_data(run_config, root):
    """Also of a config that names its files."""
    path = ROOT / 'configs/rfdetr/rfdetr_nano_coco.py'
    cfg = read(run_config, path, data_root=root)
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert Path(dataset.data_root) == Path('/new/place')
        assert not dataset.ann_file.startswith('/')
    assert cfg.val_evaluator.ann_file == (
        '/new/place/annotations/instances_val2017.json'
    )
    assert 'data/coco' not in cfg.pretty_text.replace('/new/place', '')


def test_data_root_of_a_resolved_config(run_config, tmp_path):
    old, new = (write_layout(tmp_path / n, 'flat') for n in ('a', 'ab'))
    cfg = read(run_config, CUSTOM, data_root=str(old))
    assert cfg.dataset_layout  # still to be looked for
    resolve_own_data(cfg)
    cfg.dump(tmp_path / 'resolved.py')
    cfg = read(run_config, tmp_path / 'resolved.py', data_root=str(new))
    assert cfg.test_dataloader.dataset.data_root == str(new)
    assert cfg.test_evaluator.ann_file == str(new / 'test.json')
    cfg = read(run_config, tmp_path / 'resolved.py', data_root=str(old))
    assert cfg.test_evaluator.ann_file == str(old / 'test.json')
    # A folder whose name only begins like the old one is another folder.
    cfg.val_dataloader.dataset.data_root = str(new)
    cfg.dump(tmp_path / 'mixed.py')
    cfg = read(run_config, tmp_path / 'mixed.py', data_root='/x')
    assert cfg.test_dataloader.dataset.data_root == '/x'
    assert cfg.val_dataloader.dataset.data_root == str(new)


def test_data_root_that_nothing_has(run_config, tmp_path):
    path = tmp_path / 'config.py'
    path.write_text("test_dataloader = dict(dataset=dict(data_root='d'))")
    with pytest.raises(InputError, match='data_root changes nothing'):
        read(run_config, path, data_root='e')
    path.write_text(path.read_text() + "\ndata_root = 'd'")
    own = {'test_dataloader.dataset.data_root': 'f'}
    cfg = read(run_config, path, data_root='e', **own)
    assert cfg.test_dataloader.dataset.data_root == 'f'


@pytest.mark.parametrize(
    'given, size_hw',
    [(192, (192, 192)), ((192, 256), (192, 256)), ([64, 96], (64, 96))],
)
def test_resolution_is_the_size_of_all_places(run_config, given, size_hw):
    cfg = read(run_config, CUSTOM, resolution=given)
    assert image_size(cfg) == size_hw
    assert {place.size_hw for place in size_places(cfg)} == {size_hw}


@pytest.mark.parametrize('given', [0, -32, 33, (64, 96, 3), 'large', 64.5])
def test_resolutions_that_cannot_be(run_config, given):
    with pytest.raises(InputError, match='^resolution.*16 . 2 = 32'):
        read(run_config, CUSTOM, resolution=given)


def test_two_sizes_in_a_config_are_an_error_until_one_is_given(run_config):
    """The options that README gave for 192 px left test_pipeline alone."""
    options = {
        'model.backbone.img_size': 192,
        'train_dataloader.dataset.pipeline.3.scale': (192, 192),
        'val_dataloader.dataset.pipeline.1.scale': (192, 192),
        'test_dataloader.dataset.pipeline.1.scale': (192, 192),
    }
    message = '192 x 192, test_pipeline says 384 x 384.*resolution=192'
    with pytest.raises(InputError, match=message):
        read(run_config, CUSTOM, **options)
    cfg = read(run_config, CUSTOM, resolution=192, **options)
    assert image_size(cfg) == (192, 192)
    assert cfg.model.backbone.img_size == 192


def test_names_within_a_config_are_no_options(run_config):
    with pytest.raises(InputError, match='image_size changes nothing'):
        read(run_config, CUSTOM, image_size=512)
    with pytest.raises(InputError, match='no modle; did you mean model.bac'):
        read(run_config, CUSTOM, **{'modle.backbone.img_size': 3})


@pytest.mark.parametrize(
    'error',
    [
        torch.cuda.OutOfMemoryError(CUDA + '\nMore about the allocator.'),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        RuntimeError('cuDNN error: CUDNN_STATUS_ALLOC_FAILED'),
        RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x'),
    ],
)
def test_exhausted_memory_is_one_line(run_config, error):
    assert is_out_of_memory(error)
    with pytest.raises(SystemExit) as stopped:
        with run_config.input_errors_in_one_line():
            raise error
    message = str(stopped.value)
    assert '\n' not in message and str(error).splitlines()[0] in message
    for way_out in (
        'train_dataloader.batch_size',
        'optim_wrapper.accumulative_counts',
        'tools/analysis_tools/find_batch_size.py',
        'model.backbone.with_cp=True',
    ):
        assert way_out in message
    assert (ROOT / 'tools/analysis_tools/find_batch_size.py').is_file()


@pytest.mark.parametrize(
    'error',
    [
        RuntimeError('mat1 and mat2 shapes cannot be multiplied'),
        ValueError('CUDA out of memory'),
        KeyError('a'),
    ],
)
def test_other_errors_keep_their_traceback(run_config, error):
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)):
        with run_config.input_errors_in_one_line():
            raise error


def test_multi_scale_training_stops_at_its_first_step(
    tmp_path, train, monkeypatch
):
    """Batches of 224 px do not fit; that size comes first."""
    Visualizer._instance_dict.clear()
    ReadableDetVisualizer._instance_dict.clear()
    base = str(ROOT / 'configs/rfdetr/rfdetr_nano_custom.py')
    config = tmp_path / 'tiny.py'
    config.write_text(CONFIG.format(base=base) + MULTI_SCALE)
    root = write_layout(tmp_path / 'data', 'flat')
    seen = []

    def loss(self, batch_inputs, batch_data_samples):
        seen.append(tuple(batch_inputs.shape[-2:]))
        if seen[-1] == (224, 224):
            raise torch.cuda.OutOfMemoryError(CUDA)
        raise AssertionError('another size came first')

    monkeypatch.setattr(RFDETR, 'loss', loss)
    with pytest.raises(SystemExit, match='out of memory: CUDA out of'):
        train.main(
            [str(config), '--work-dir', str(tmp_path / 'work')]
            + ['--cfg-options', f'data_root={root}']
        )
    assert seen == [(224, 224)]
    assert not list(Path(tmp_path / 'work').glob('*.pth'))
