"""The installed package: look-ups by name, mim's commands."""

import json
import shutil
from pathlib import Path

import pytest
from built_package import run

from tests.data_factory import write_coco

ROOT = Path(__file__).parents[2]
TINY = (
    """
load_from=None train_cfg.max_epochs=1 default_hooks.checkpoint.save_best=None
resolution=64 model.bbox_head.num_queries=8
model.bbox_head.num_groups=2 model.test_cfg.max_per_img=10
train_dataloader.num_workers=0 train_dataloader.persistent_workers=False
""".split()
    + [
        f'{split}_dataloader.{option}'
        for split in ('val', 'test')
        for option in (
            'num_workers=0',
            'persistent_workers=False',
        )
    ]
)
LOOK_UPS = """
import json
import rfdetr_mm
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DefaultScope, MODELS, VISUALIZERS

small = get_config('rfdetr_mm::rfdetr/rfdetr_small_coco.py', pretrained=True)
mine = Config.fromfile('mine.py')
with DefaultScope.overwrite_default_scope('mmdet'), torch.device('meta'):
    built = [MODELS.build(mine.model), VISUALIZERS.build(mine.visualizer)]
found = [rfdetr_mm.__file__, small.filename, small.model_path]
print(json.dumps(found + [type(b).__name__ for b in built]))
"""


def test_configs_by_name(target, tmp_path):
    (tmp_path / 'mine.py').write_text(
        "_base_ = 'rfdetr_mm::rfdetr/rfdetr_nano_coco.py'\n"
    )
    output = run('-c', LOOK_UPS, cwd=tmp_path, path=target)
    package = target / 'rfdetr_mm'
    (found,) = (
        json.loads(line) for line in output.splitlines() if line[:2] == '["'
    )
    assert found == [
        str(package / '__init__.py'),
        str(package / '.mim/configs/rfdetr/rfdetr_small_coco.py'),
        'rfdetr://rf-detr-small.pth',
        'RFDETR',
        'ReadableDetVisualizer',
    ]


@pytest.fixture(scope='module')
def mim(target, tmp_path_factory):
    """Run a command of mim in a folder with a data set."""
    pytest.importorskip('mim', reason='onedl-mim is not installed')
    folder = tmp_path_factory.mktemp('mim')
    data = write_coco(
        folder / 'data', [(60, 90), (90, 60), (50, 70), (64, 64)], empty=(2,)
    )
    shutil.copy(data / 'annotations.json', data / 'train.json')
    (data / 'annotations.json').rename(data / 'val.json')

    def command(*arguments):
        return run('-m', 'mim', *arguments, cwd=folder, path=target)

    yield command
    shutil.rmtree(folder)  # checkpoints of 0.4 GB


def test_mim_search(mim, tmp_path):
    mim('search', 'rfdetr_mm', '--json', tmp_path / 'models.json')
    columns = json.loads((tmp_path / 'models.json').read_text())
    assert len(columns['weight']) == 16  # 8, 7 with masks, 1 with keypoints
    nano = {
        name: column['rfdetr_nano_coco'] for name, column in columns.items()
    }
    assert nano['coco/box_ap'] == 48.4
    assert 'not run here' in nano['results_from']
    assert nano['weight'] == 'rfdetr://rf-detr-nano.pth'


@pytest.fixture(scope='module')
def trained(mim):
    """What mim said while it trained."""
    return mim(
        *('train', 'rfdetr_mm', 'rfdetr_nano_custom.py'),
        *('--launcher', 'none', '--work-dir', 'work', '--cfg-options'),
        *('data_root=data', *TINY),
    )


def test_mim_train(trained, target):
    assert 'Training finished successfully' in trained
    assert 'Epoch(train) [1][1/1]' in trained
    assert str(target) in trained and str(ROOT / 'tools') not in trained


@pytest.mark.slow
def test_mim_test(mim, trained):
    tested = mim(
        *('test', 'rfdetr_mm', 'work/rfdetr_nano_custom.py'),
        *('--launcher', 'none', '--checkpoint', 'work/epoch_1.pth'),
    )
    assert 'Testing finished successfully' in tested
    assert 'coco/bbox_mAP' in tested
