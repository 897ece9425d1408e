"""tools/train.py, tools/test.py and plot_log.py on a tiny data set."""

import importlib.util
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.visualization import Visualizer

from rfdetr_mm.engine.visualizer import ReadableDetVisualizer
from tests.data_factory import CLASSES, write_coco

ROOT = Path(__file__).parents[2]
SIZES = [(60, 90), (90, 60), (50, 70), (64, 64), (80, 50), (48, 100)]
CONFIG = """
_base_ = {base!r}
image_size = 64
model = dict(
    backbone=dict(
        arch='tiny', img_size=image_size,
        out_indices=(0, 1), global_attn_indices=(1, )),
    neck=dict(in_channels=[192] * 2, out_channels=32),
    bbox_head=dict(
        num_classes={num_classes}, num_queries=8, num_groups=2, embed_dims=32,
        decoder=dict(
            num_layers=2, self_attn_num_heads=2, cross_attn_num_heads=2,
            feedforward_channels=32)),
    test_cfg=dict(max_per_img=10))
data = dict(
    data_root={data_root!r}, ann_file='annotations.json',
    data_prefix=dict(img='images/'), metainfo=dict(classes={classes!r}))
train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[3].scale = (image_size, image_size)
test_pipeline[1].scale = (image_size, image_size)
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    dataset=dict(pipeline=train_pipeline, **data), **loader)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **data), **loader)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file={ann_file!r})
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1)
default_hooks = dict(
    logger=dict(interval=1),
    checkpoint=dict(max_keep_ckpts=1, save_best=None))
"""


def load_tool(name: str):
    """Import a tool by its path: the name ``test`` belongs to Python."""
    sys.path.insert(0, str(ROOT / 'tools'))
    path = ROOT / 'tools' / f'{name}.py'
    spec = importlib.util.spec_from_file_location(f'tool_{path.stem}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def tools():
    return load_tool('train'), load_tool('test')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Data, a config, and a work dir with one trained epoch (2 steps)."""
    folder = tmp_path_factory.mktemp('tools')
    data_root = write_coco(folder / 'data', SIZES, empty=(2,))
    (folder / 'tiny.py').write_text(
        CONFIG.format(
            base=str(ROOT / 'configs/rfdetr/rfdetr_nano_coco.py'),
            num_classes=len(CLASSES),
            data_root=str(data_root),
            ann_file=str(data_root / 'annotations.json'),
            classes=CLASSES,
        )
    )
    # The tool has to find its package by itself.
    paths = os.environ.get('PYTHONPATH', '').split(os.pathsep)
    others = [path for path in paths if Path(path).resolve() != ROOT]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(others))
    environment['CUDA_VISIBLE_DEVICES'] = ''
    command = [sys.executable, str(ROOT / 'tools/train.py'), 'tiny.py']
    done = subprocess.run(
        [*command, '--cfg-options', 'train_dataloader.batch_size=3'],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / 'output.txt').write_text(done.stdout + done.stderr)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def in_folder(folder, monkeypatch):
    # mmengine keeps one visualizer, and with it the log file, per process.
    Visualizer._instance_dict.clear()
    ReadableDetVisualizer._instance_dict.clear()
    monkeypatch.chdir(folder)
    return folder


def checkpoint(folder: Path) -> Path:
    return folder / 'work_dirs/tiny/epoch_1.pth'


def log_records(folder: Path) -> list[dict]:
    logs = sorted(folder.glob('work_dirs/tiny/*/vis_data/scalars.json'))
    return [json.loads(line) for line in logs[0].read_text().splitlines()]


def test_training_leaves_checkpoint_config_and_log(folder):
    assert checkpoint(folder).is_file()
    assert (folder / 'work_dirs/tiny/tiny.py').is_file()
    assert (
        str(folder / 'work_dirs/tiny') in (folder / 'output.txt').read_text()
    )
    train = [r for r in log_records(folder) if 'loss' in r]
    assert [record['step'] for record in train] == [1, 2]
    assert train[0]['loss'] > 0 and 'd0.loss_cls' in train[0]
    assert any('coco/bbox_mAP' in r for r in log_records(folder))


def test_testing_writes_predictions_and_pictures(in_folder, tools):
    _, test = tools
    runner = test.main(
        ['tiny.py', str(checkpoint(in_folder)), '--work-dir', 'tested']
        + ['--out', 'results/predictions.pkl', '--show-dir', 'painted']
    )
    with open('results/predictions.pkl', 'rb') as file:
        predictions = pickle.load(file)
    assert len(predictions) == len(SIZES)
    for prediction, (height, width) in zip(predictions, SIZES):
        assert prediction['ori_shape'] == (height, width)
        boxes = prediction['pred_instances']['bboxes']
        assert boxes.shape == (10, 4) and (boxes >= 0).all()
        assert (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
    painted = sorted(Path(runner.log_dir, 'painted').iterdir())
    assert len(painted) == len(SIZES)
    (metrics,) = Path(runner.log_dir).glob('*.json')
    assert 'coco/bbox_mAP' in json.loads(metrics.read_text())
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    for place in (runner.log_dir, 'painted', 'results/predictions.pkl'):
        assert place in log.splitlines()[-1]


def test_a_flipped_view_is_merged(in_folder, tools):
    _, test = tools
    runner = test.main(
        ['tiny.py', str(checkpoint(in_folder)), '--work-dir', 'tta']
        + ['--tta', '--out', 'tta.pkl', '--cfg-options']
        + ['test_dataloader.dataset.pipeline.1.kernel=predict']
    )
    saved = torch.load(checkpoint(in_folder), weights_only=False)['state_dict']
    used = runner.model.module.state_dict()
    assert all(torch.equal(saved[key], used[key]) for key in used)
    resize = runner.cfg.test_dataloader.dataset.pipeline[1]
    assert (resize.scale, resize.kernel) == ((64, 64), 'predict')
    with open('tta.pkl', 'rb') as file:
        predictions = pickle.load(file)
    assert len(predictions) == len(SIZES)
    for prediction, (_, width) in zip(predictions, SIZES):
        boxes = prediction['pred_instances']['bboxes']
        assert 10 < len(boxes) <= 2 * 10  # of two views, some merged
        assert (boxes[:, 0] >= 0).all() and (boxes[:, 2] <= width).all()


def test_resuming_continues_after_the_last_epoch(in_folder, tools):
    train, _ = tools
    shutil.copytree('work_dirs/tiny', 'resumed')
    try:
        runner = train.main(
            ['tiny.py', '--work-dir', 'resumed', '--resume', '--cfg-options']
            + ['train_cfg.max_epochs=2', 'train_dataloader.batch_size=3']
        )
        assert (runner.epoch, runner.iter) == (2, 4)
        assert Path('resumed/epoch_2.pth').is_file()
        train_records, val_records = load_tool(
            'analysis_tools/plot_log'
        ).read_records(Path('resumed'))
        assert [record['step'] for record in train_records] == [1, 2, 3, 4]
        assert [record['step'] for record in val_records] == [1, 2]
    finally:
        shutil.rmtree('resumed')


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['nowhere.py'], 'no config file nowhere.py .*configs'),
        (['tiny.py', '--resume', 'no.pth'], 'no.pth .*--resume'),
        (['tiny.py', '--cfg-options', 'load_from=no.pth'], 'load_from'),
        (['tiny.py', '--auto-scale-lr'], 'auto_scale_lr=dict.base_batch_size'),
        (['tiny.py', '--amp'], '--amp needs a CUDA.*float32'),
    ],
)
def test_bad_training_input_is_one_line(
    in_folder, tools, monkeypatch, arguments, message
):
    train, _ = tools
    monkeypatch.setattr(train, 'get_device', lambda: 'cpu')
    if '--auto-scale-lr' in arguments:
        Path('bare.py').write_text(
            "_base_ = 'tiny.py'\nauto_scale_lr = dict(_delete_=True)\n"
        )
        arguments = ['bare.py', '--auto-scale-lr']
    with pytest.raises(SystemExit, match=message) as stopped:
        train.main(arguments)
    assert '\n' not in str(stopped.value)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['nowhere.py', 'a.pth'], 'no config file nowhere.py'),
        (['tiny.py', 'a.pth'], 'no checkpoint file a.pth'),
        (['tiny.py', 'a.pth', '--out', 'a.json'], r'\.pkl.*not a\.json'),
    ],
)
def test_bad_testing_input_is_one_line(in_folder, tools, arguments, message):
    _, test = tools
    with pytest.raises(SystemExit, match=message) as stopped:
        test.main(arguments)
    assert '\n' not in str(stopped.value)


def test_resuming_from_mere_weights_is_one_line(in_folder, tools):
    train, _ = tools
    torch.save({'state_dict': {}, 'meta': {}}, 'weights.pth')
    with pytest.raises(SystemExit, match='--resume.*load_from=weights.pth'):
        train.main(['tiny.py', '--resume', 'weights.pth'])


def test_tta_without_its_model_is_one_line(in_folder, tools):
    _, test = tools
    Path('plain.py').write_text("_base_ = 'tiny.py'\ntta_model = None\n")
    with pytest.raises(SystemExit, match='tta_model=dict'):
        test.main(['plain.py', str(checkpoint(in_folder)), '--tta'])


def test_options_reach_the_config(in_folder, tools, monkeypatch):
    train, _ = tools
    monkeypatch.setattr(train, 'get_device', lambda: 'cuda')
    cfg = train.train_config(
        train.parse_args(
            ['tiny.py', '--amp', '--auto-scale-lr', '--launcher', 'slurm']
            + ['--resume', str(checkpoint(in_folder)), '--cfg-options']
            + ['optim_wrapper.dtype=bfloat16']
        )
    )
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.dtype == 'bfloat16'
    assert cfg.optim_wrapper.loss_scale == 'dynamic'
    assert cfg.auto_scale_lr.enable
    assert cfg.resume and cfg.load_from == str(checkpoint(in_folder))
    assert cfg.launcher == 'slurm' and cfg.work_dir == 'work_dirs/tiny'


def test_addresses_are_left_to_their_loaders(in_folder, tools):
    _, test = tools
    address = 'rfdetr://rf-detr-nano.pth'
    cfg = test.test_config(test.parse_args(['tiny.py', address]))
    assert cfg.load_from == address


def test_a_resumed_trainings_config_is_tested_without_resuming(
    in_folder, tools
):
    _, test = tools
    Path('resumed.py').write_text("_base_ = 'tiny.py'\nresume = True\n")
    cfg = test.test_config(
        test.parse_args(['resumed.py', str(checkpoint(in_folder))])
    )
    assert cfg.resume is False
