"""mmdet's own tools, each run on a config of this package."""

import importlib.util
import json
import pickle
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from tests.data_factory import CLASSES, write_layout

ROOT = Path(__file__).parents[3]
CUSTOM = str(ROOT / 'configs/rfdetr/rfdetr_nano_custom.py')
SMALL = (
    'resolution=64',
    'model.backbone.arch=tiny',
    'model.backbone.out_indices=(0,1)',
    'model.backbone.global_attn_indices=(1,)',
    'model.neck.in_channels=[192,192]',
    'model.bbox_head.num_queries=8',
    'model.bbox_head.num_groups=2',
    'model.test_cfg.max_per_img=8',
    'load_from=None',
)


def loaded(name):
    path = ROOT / f'tools/analysis_tools/{name}.py'
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.setattr(sys, 'path', [*sys.path])
    return loaded('mmdet_tool')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A folder of own data, and perfect detections of its test set."""
    folder = tmp_path_factory.mktemp('mmdet')
    root = write_layout(folder / 'data', 'roboflow')
    truth = json.loads((root / 'test/_annotations.coco.json').read_text())
    samples, results = [], []
    for image in truth['images']:
        own = [
            one
            for one in truth['annotations']
            if one['image_id'] == image['id']
        ]
        boxes = torch.tensor([one['bbox'] for one in own]).reshape(-1, 4)
        boxes = boxes.float()
        boxes[:, 2:] += boxes[:, :2]
        # Labels are in the order of the category ids.
        labels = [(3, 7).index(one['category_id']) for one in own]
        samples.append(
            dict(
                img_id=image['id'],
                img_path=str(root / 'test' / image['file_name']),
                ori_shape=(image['height'], image['width']),
                pred_instances=dict(
                    bboxes=boxes,
                    scores=torch.ones(len(own)),
                    labels=torch.tensor(labels, dtype=torch.long),
                ),
            )
        )
        results += [
            dict(
                image_id=image['id'],
                category_id=one['category_id'],
                bbox=one['bbox'],
                score=1.0,
            )
            for one in own
        ]
    (folder / 'found.pkl').write_bytes(pickle.dumps(samples))
    (folder / 'found.json').write_text(json.dumps(results))
    return folder


@pytest.fixture(params=['custom', 'work dir'])
def config(request, data, tool, tmp_path):
    """The config file and its options: one to be filled in, or complete."""
    options = ('--cfg-options', f'data_root={data / "data"}', *SMALL)
    if request.param == 'custom':
        return CUSTOM, options
    path, _ = tool.complete_config(CUSTOM, options, tmp_path)
    assert 'dataset_layout' not in Config.fromfile(path)
    return str(path), ()


def test_print_config(tool, config, data, capsys):
    path, options = config
    tool.main(['print_config', path, *options])
    printed = capsys.readouterr().out
    assert str(data / 'data') in printed
    assert "'num_queries': 8" in printed or 'num_queries=8' in printed


def test_get_flops_equals_benchmark(tool, config, data, capsys, tmp_path):
    path, options = config
    tool.main(['get_flops', path, '--num-images', '1', *options])
    printed = capsys.readouterr().out
    flops = re.search(r'Flops: ([\d.]+)([GM])', printed)
    found = float(flops[1]) * dict(G=1e9, M=1e6)[flops[2]]
    given = ('--cfg-options', f'data_root={data / "data"}', *SMALL)
    complete, _ = tool.complete_config(CUSTOM, given, tmp_path)
    expected = multiply_adds(Config.fromfile(complete))
    # mmengine prints three decimals.
    assert found == pytest.approx(expected, rel=2e-3)


def multiply_adds(cfg):
    """Half the number of benchmarks/benchmark.py, which counts both."""
    sys.path.insert(0, str(ROOT / 'benchmarks'))
    from benchmark import Subject

    return Subject(cfg, None, (64, 64)).flops() / 2


def test_browse_dataset(tool, config, data, tmp_path):
    path, options = config
    out = tmp_path / 'browsed'
    given = ('--output-dir', str(out), '--not-show')
    tool.main(['browse_dataset', path, *given, *options])
    names = {file.name for file in out.iterdir()}
    folder = data / 'data' / 'train'
    assert names == {
        file.name for file in folder.iterdir() if file.suffix != '.json'
    }


def test_eval_metric(tool, config, data, capsys):
    path, options = config
    # It takes val_evaluator, on the test set.
    cfg_options = (*(options or ('--cfg-options',)),)
    truth = data / 'data' / 'test' / '_annotations.coco.json'
    given = (*cfg_options, f'val_evaluator.ann_file={truth}')
    tool.main(['eval_metric', path, str(data / 'found.pkl'), *given])
    printed = capsys.readouterr().out
    assert "'coco/bbox_mAP': 1.0" in printed


def test_confusion_matrix(tool, config, data, tmp_path):
    path, options = config
    given = (str(data / 'found.pkl'), str(tmp_path / 'matrix'), *options)
    tool.main(['confusion_matrix', path, *given])
    picture = tmp_path / 'matrix' / 'confusion_matrix.png'
    assert min(Image.open(picture).size) > 100


def test_analyze_results(tool, config, data, tmp_path):
    path, options = config
    given = (str(data / 'found.pkl'), str(tmp_path / 'shown'))
    tool.main(['analyze_results', path, *given, '--topk', '1', *options])
    assert len([*(tmp_path / 'shown').glob('good/*')]) == 1
    assert len([*(tmp_path / 'shown').glob('bad/*')]) == 1


def test_coco_error_analysis(tool, data, tmp_path):
    source = data / 'data' / 'test' / '_annotations.coco.json'
    content = json.loads(source.read_text())
    for category in content['categories']:
        category['supercategory'] = 'thing'  # which mmdet's tool needs
    truth = tmp_path / 'truth.json'
    truth.write_text(json.dumps(content))
    out = tmp_path / 'errors'
    given = (str(data / 'found.json'), str(out), '--ann', str(truth))
    tool.main(['coco_error_analysis', *given])
    names = {file.stem for file in out.rglob('*.png')}
    assert {f'{name}-allarea' for name in CLASSES} & {
        name.removeprefix('bbox-') for name in names
    }


def test_analyze_logs(tool, tmp_path):
    # OpenMMLab's mmdet paints by it, OneDL's does not.
    if 'import seaborn' in tool.script_of('analyze_logs').read_text():
        pytest.importorskip('seaborn')
    records = [
        dict(loss=5.0 - s / 10, time=0.5, epoch=1 + s // 5, step=s + 1)
        for s in range(10)
    ]
    log = tmp_path / 'scalars.json'
    log.write_text('\n'.join(map(json.dumps, records)))
    out = tmp_path / 'curve.png'
    given = ('--keys', 'loss', '--style', 'default', '--out', str(out))
    tool.main(['analyze_logs', 'plot_curve', str(log), *given])
    assert min(Image.open(out).size) > 100


def test_publish_model(tool, tmp_path):
    source, target = tmp_path / 'trained.pth', tmp_path / 'public.pth'
    weights = dict(a=torch.from_numpy(np.arange(3.0)))
    torch.save(dict(state_dict=weights, optimizer={}, meta={}), source)
    tool.main(['publish_model', str(source), str(target)])
    for _ in range(100):  # mmdet does not wait for its mv
        if written := [*tmp_path.glob('public-????????.pth')]:
            break
        time.sleep(0.1)
    published = torch.load(written[0])
    assert set(published) == {'state_dict', 'meta'}
    assert torch.equal(published['state_dict']['a'], weights['a'])


def test_what_is_wrong_is_one_line(tool, data):
    options = ('--cfg-options', f'data_root={data / "nowhere"}')
    with pytest.raises(SystemExit) as stop:
        tool.main(['get_flops', CUSTOM, *options])
    assert 'nowhere' in str(stop.value.code)
    assert '\n' not in str(stop.value.code)
    with pytest.raises(SystemExit):
        tool.main(['no_such_tool'])
