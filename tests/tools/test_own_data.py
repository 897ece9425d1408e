"""One command trains on one's own folder; another tests the result."""

import importlib.util
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.visualization import Visualizer

from rfdetr_mm.datasets.packed_set import pack_data_set
from rfdetr_mm.engine.visualizer import ReadableDetVisualizer
from tests.data_factory import (
    CLASSES,
    COLOURS,
    LAYOUT_FILES,
    edit_json,
    permute_categories,
    write_layout,
)

ROOT = Path(__file__).parents[2]
SIZES = [(60, 90), (90, 60), (50, 50), (64, 48), (48, 80), (70, 50)]
# rfdetr_nano_custom.py with a model that trains in a second.
CONFIG = """
_base_ = {base!r}
load_from = None
image_size = 64
model = dict(
    backbone=dict(
        arch='tiny', img_size=image_size,
        out_indices=(0, 1), global_attn_indices=(1, )),
    neck=dict(in_channels=[192] * 2, out_channels=32),
    bbox_head=dict(
        embed_dims=32, num_queries=6, num_groups=2,
        decoder=dict(
            num_layers=1, self_attn_num_heads=2, cross_attn_num_heads=2,
            feedforward_channels=32)),
    test_cfg=dict(max_per_img=6))
train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[3].scale = (image_size, image_size)
test_pipeline[1].scale = (image_size, image_size)
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline), **loader)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline), **loader)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1)
"""


def load_tool(name: str):
    """Import a tool by its path: the name ``test`` belongs to Python."""
    sys.path.insert(0, str(ROOT / 'tools'))
    spec = importlib.util.spec_from_file_location(
        f'tool_{name}', ROOT / 'tools' / f'{name}.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def tools():
    return load_tool('train'), load_tool('test')


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    # mmengine keeps one visualizer, and with it the log file, per process.
    Visualizer._instance_dict.clear()
    ReadableDetVisualizer._instance_dict.clear()
    base = str(ROOT / 'configs/rfdetr/rfdetr_nano_custom.py')
    (tmp_path / 'tiny.py').write_text(CONFIG.format(base=base))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def add_parent(content):
    for category in content['categories']:
        category['supercategory'] = 'shapes'
    root = {'id': 0, 'name': 'shapes', 'supercategory': 'none'}
    content['categories'].insert(0, root)


def log_of(runner) -> str:
    return next(Path(runner.log_dir).glob('*.log')).read_text()


def assert_truth_scores_full(evaluator, dataset) -> None:
    """Give the evaluator what the pictures show instead of predictions.

    Classes are read off the colours, boxes taken from the annotations.
    """
    names = dataset.metainfo['classes']
    shown = set()
    for number in range(len(dataset)):
        sample = dataset[number]
        data = sample['data_samples'].to_dict()
        truth = data['gt_instances']
        boxes, labels = truth['bboxes'].tensor, []  # original pixels
        for center in (boxes[:, :2] + boxes[:, 2:]) / 2:
            scaled = center * center.new_tensor(data['scale_factor'])
            x, y = scaled.long().tolist()
            colour = sample['inputs'][:, y, x].flip(0).int().numpy()
            distances = [np.abs(colour - c).max() for c in COLOURS]
            name = CLASSES[int(np.argmin(distances))]
            shown.add(name)
            labels.append(names.index(name))
        data['pred_instances'] = dict(
            bboxes=boxes,
            scores=boxes.new_ones(len(boxes)),
            labels=truth['labels'].new_tensor(labels),
        )
        evaluator.process([data], None)
    metrics = evaluator.evaluate(len(dataset))
    assert shown == set(CLASSES)
    assert metrics['coco/bbox_mAP'] == 1.0


@pytest.mark.parametrize('layout', [*LAYOUT_FILES, 'yolo'])
def test_one_command_trains(in_folder, tools, monkeypatch, layout):
    train, test = tools
    # One object per image, so that none hides another.
    root = write_layout(
        in_folder / 'Meine Daten ü',
        layout,
        sizes_hw=SIZES,
        objects_per_image=1,
    )
    if layout == 'roboflow':
        for split, (ann_file, _) in LAYOUT_FILES[layout].items():
            if split == 'val':
                edit_json(root / ann_file, permute_categories)
            edit_json(root / ann_file, add_parent)
    runner = train.main(
        ['tiny.py', '--work-dir', 'work', '--cfg-options']
        + ['data_root=Meine Daten ü', 'train_dataloader.batch_size=2']
    )
    assert runner.model.bbox_head.num_classes == 2
    assert len(next(iter(runner.train_dataloader))['inputs']) == 2
    log = log_of(runner)
    assert f'Data set in {root}, layout {layout}' in log
    assert 'coco/bbox_mAP' in log
    val_set = runner.val_dataloader.dataset
    assert val_set.metainfo['classes'] == CLASSES[::-1]
    assert_truth_scores_full(runner.val_evaluator, val_set)

    # The config in the work dir is complete, and the best checkpoint fits.
    dumped = Config.fromfile('work/tiny.py')
    assert dumped._cfg_dict == runner.cfg._cfg_dict
    assert 'dataset_layout' not in dumped and dumped.data_root == str(root)
    (checkpoint,) = (in_folder / 'work').glob('best_coco_bbox_mAP*.pth')
    monkeypatch.chdir('/')
    runner = test.main(
        [str(in_folder / 'work/tiny.py'), str(checkpoint)]
        + ['--work-dir', str(in_folder / 'tested')]
        + ['--out', str(in_folder / 'out.pkl')]
    )
    with open(in_folder / 'out.pkl', 'rb') as file:
        names = {Path(p['img_path']).name for p in pickle.load(file)}
    assert names == {f'test {n}.png' for n in range(1, 1 + len(SIZES))}
    assert 'Data set in' not in log_of(runner)
    shutil.rmtree(in_folder / 'work')


def test_shards_train_bit_by_bit_as_loose_files(in_folder, tools):
    train, _ = tools
    root = write_layout(in_folder / 'loose', 'coco', sizes_hw=SIZES)
    pack_data_set(str(root), str(in_folder / 'shards'))
    options = ['randomness.seed=5', 'train_dataloader.batch_size=2']
    states = []
    for name in ('loose', 'shards'):
        runner = train.main(
            ['tiny.py', '--work-dir', f'work_{name}', '--cfg-options']
            + [*options, f'data_root={name}']
        )
        states.append(runner.model.state_dict())
    assert 'layout webdataset' in log_of(runner)
    loose, shards = states
    assert loose.keys() == shards.keys()
    assert all(shards[key].equal(loose[key]) for key in loose)


def test_the_dumped_config_trains_again(in_folder, tools):
    train, test = tools
    root = write_layout(in_folder / 'data', 'flat')
    options = ['--cfg-options', f'data_root={root}']
    config, checkpoint = ['work/tiny.py', 'work/epoch_1.pth']
    train.main(['tiny.py', '--work-dir', 'work', *options])
    runner = train.main(
        [config, '--work-dir', 'again', '--resume', checkpoint]
        + ['--cfg-options', 'train_cfg.max_epochs=2']
    )
    assert runner.epoch == 2
    # The config that is not resolved tests as well, from the training file.
    runner = test.main(['tiny.py', checkpoint, '--work-dir', 'x', *options])
    assert 'layout flat' in log_of(runner)


def run(folder: Path, tool: str, *arguments: str):
    return subprocess.run(
        [sys.executable, str(ROOT / 'tools' / f'{tool}.py'), *arguments],
        cwd=folder,
        env=dict(os.environ, CUDA_VISIBLE_DEVICES=''),
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_errors_are_one_line_of_the_program(in_folder):
    done = run(in_folder, 'train', 'tiny.py', '--cfg-options', 'data_root=no')
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('train.py: error: The folder of the data set')


def one_line(tool, arguments: list[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        tool.main(arguments)
    message = str(stopped.value)
    assert 'error: ' in message and '\n' not in message
    return message


def test_bad_data_sets_are_one_line(in_folder, tools):
    train, test = tools
    root = write_layout(in_folder / 'data', 'roboflow')
    train_file = root / LAYOUT_FILES['roboflow']['train'][0]
    options = ['--cfg-options', f'data_root={root}']

    assert 'data/custom' in one_line(train, ['tiny.py'])
    message = one_line(train, ['tiny.py', *options, 'dataset_layout=flat'])
    assert '{train,val,test}.json (flat)' in message

    good = train_file.read_text()
    train_file.write_text(good[:-20])
    assert str(train_file) in one_line(train, ['tiny.py', *options])
    train_file.unlink()
    Path('any.pth').touch()
    message = one_line(test, ['tiny.py', 'any.pth', *options])
    assert 'train' in message and 'config in its work dir' in message
    train_file.write_text(good)
    edit_json(train_file, lambda c: c['images'][0].pop('width'))
    message = one_line(train, ['tiny.py', *options])
    assert f'{train_file}: images[0].width' in message
    assert not Path('work_dirs').exists()


def test_errors_while_loading_are_one_line(in_folder, tools, monkeypatch):
    train, test = tools
    root = write_layout(in_folder / 'data', 'flat')
    options = ['--cfg-options', f'data_root={root}']
    Path('bad.pth').write_bytes(b'no checkpoint')
    assert 'bad.pth' in one_line(test, ['tiny.py', 'bad.pth', *options])
    message = one_line(train, ['tiny.py', *options, 'load_from=bad.pth'])
    assert 'bad.pth' in message
    assert 'bad.pth' in one_line(
        train, ['tiny.py', '--resume', 'bad.pth', *options]
    )
    address = 'rfdetr://rf-detr-xlarge.pth'
    message = one_line(train, ['tiny.py', *options, f'load_from={address}'])
    assert 'PML-1.0' in message and 'accept_platform_model_license' in message
    # Found by a worker of the data loader: still one line.
    (root / 'images/val 1.png').write_bytes(b'no image')
    message = one_line(
        train, ['tiny.py', *options, 'val_dataloader.num_workers=1']
    )
    assert 'val 1.png' in message

    # A mistake of the program keeps its traceback.
    def fail(cfg):
        raise ValueError('a mistake of the program')

    monkeypatch.setattr(train, 'build_runner', fail)
    with pytest.raises(ValueError, match='a mistake'):
        train.main(['tiny.py'])


@pytest.mark.parametrize(
    'text, value',
    [
        ('None', None),
        ('My  data/set one', 'My  data/set one'),
        ('Größe/x=1', 'Größe/x=1'),
        ('[red cell, white cell,x]', ['red cell', 'white cell', 'x']),
        ('[ 1, (2.5 , a b)]', [1, (2.5, 'a b')]),
        ('[(1, 2),(3,4)]', [(1, 2), (3, 4)]),
        ('"with quotes"', 'with quotes'),
        ('1e-4', 1e-4),
        ('true', True),
    ],
)
def test_options_keep_spaces_within_values(tools, text, value):
    train, _ = tools
    args = train.parse_args(['c.py', '--cfg-options', f'data_root={text}'])
    assert args.cfg_options == {'data_root': value}
