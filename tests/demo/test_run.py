import json
import pickle
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from statistics import median

import pytest
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope

from rfdetr_mm.checkpoints import CLASS_ROW_WEIGHTS

ROOT = Path(__file__).parents[2]
SMALL = (
    'train_cfg.max_epochs=1',
    'train_cfg.val_interval=1',
    'train_dataloader.dataset.indices=8',
    'train_dataloader.batch_size=2',
    'default_hooks.logger.interval=1',
)


def run_demo(tmp_path, *arguments):
    """Run the demo from a foreign folder and return what it printed."""
    done = subprocess.run(
        [
            *(sys.executable, ROOT / 'demo' / 'run.py'),
            *('--data-dir', tmp_path / 'data', '--work-dir', tmp_path / 'w'),
            *arguments,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def ap50(printed):
    return float(printed.rsplit('AP50 ', 1)[1].split('.\n')[0])


def test_a_few_steps_leave_pictures_and_a_curve(
    demo, tmp_path, monkeypatch, capfd
):
    """The script starts in this process; what it starts are others."""
    monkeypatch.chdir(tmp_path)
    run = demo('run')
    few = dict(train=8, val=6, test=6)
    write = partial(run.write_tiny_shapes, splits=few)
    monkeypatch.setattr(run, 'write_tiny_shapes', write)
    folders = ['--data-dir', 'data', '--work-dir', 'w']
    metrics = run.main([*folders, '--cfg-options', *SMALL])
    printed = capfd.readouterr().out
    assert ap50(printed) == pytest.approx(
        100 * metrics['coco/bbox_mAP_50'], abs=0.05
    )
    for name in ('predictions.png', 'curve.png'):
        path = tmp_path / 'w' / name
        assert path.stat().st_size > 10_000 and str(path) in printed
    assert 0 <= ap50(printed) <= 100
    assert '$ python tools/train.py' in printed


@pytest.mark.slow
def test_masks_are_trained_tested_and_painted(tmp_path):
    printed = run_demo(tmp_path, '--masks', '--cfg-options', *SMALL)
    for name in ('predictions.png', 'curve.png'):
        assert (tmp_path / 'w' / name).stat().st_size > 10_000
    assert 'box AP ' in printed and '; mask AP ' in printed
    assert 'rfdetr-seg_tiny_masks.py' in printed
    found = pickle.loads((tmp_path / 'w/test_predictions.pkl').read_bytes())
    assert len(found) == 100
    masks = found[0]['pred_instances']['masks']
    assert [rle['size'] for rle in masks] == [[120, 160]] * len(masks)
    (best,) = (tmp_path / 'w').glob('best_coco_segm_mAP_epoch_1.pth')


@pytest.mark.slow
def test_figures_are_trained_tested_and_painted(tmp_path):
    printed = run_demo(
        tmp_path, '--figures', '--shuffle-labels', '--cfg-options', *SMALL
    )
    for name in ('predictions.png', 'curve.png'):
        assert (tmp_path / 'w' / name).stat().st_size > 10_000
    assert 'box AP ' in printed and '; keypoint AP ' in printed
    assert 'ann_file=train_shuffled.json' in printed
    found = pickle.loads((tmp_path / 'w/test_predictions.pkl').read_bytes())
    assert len(found) == 200
    assert found[0]['pred_instances']['keypoints'].shape[1:] == (5, 2)
    (best,) = (tmp_path / 'w').glob('best_coco_keypoint_mAP_epoch_1.pth')


def test_shuffling_keeps_boxes_and_class_counts(tmp_path):
    sys.path.insert(0, str(ROOT / 'demo'))
    try:
        from run import shuffle_labels
    finally:
        sys.path.pop(0)
    anns = [dict(category_id=i % 5, bbox=[i, 0, 1, 1]) for i in range(50)]
    (tmp_path / 'train.json').write_text(json.dumps(dict(annotations=anns)))
    name = shuffle_labels(tmp_path)
    shuffled = json.loads((tmp_path / name).read_text())['annotations']
    assert [a['bbox'] for a in shuffled] == [a['bbox'] for a in anns]
    old, new = ([a['category_id'] for a in part] for part in (anns, shuffled))
    assert Counter(old) == Counter(new)
    assert sum(a == b for a, b in zip(old, new)) < 25


@pytest.mark.parametrize(
    'option, config',
    [
        ((), 'rfdetr_tiny_shapes.py'),
        (('--from-scratch',), 'rfdetr_tiny_shapes-scratch.py'),
        (('--probe',), 'rfdetr_tiny_shapes-probe.py'),
        (('--masks',), 'rfdetr-seg_tiny_masks.py'),
        (('--figures',), 'rfdetr-pose_tiny_figures.py'),
    ],
)
def test_an_option_chooses_the_config(demo, option, config):
    run = demo('run')
    path = run.CONFIGS[run.parse_args(option).kind]
    assert path.name == config and path.is_file()


def test_options_exclude_each_other(demo, capsys):
    with pytest.raises(SystemExit):
        demo('run').parse_args(['--probe', '--from-scratch'])
    assert 'not allowed with' in capsys.readouterr().err


@pytest.fixture
def probe_optimizer():
    """Model and optimizer of the linear probe."""
    cfg = Config.fromfile(ROOT / 'configs/rfdetr/rfdetr_tiny_shapes-probe.py')
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
        return model, build_optim_wrapper(model, cfg.optim_wrapper).optimizer


def test_the_probe_trains_class_rows_alone(probe_optimizer):
    model, optimizer = probe_optimizer
    names = {param: name for name, param in model.named_parameters()}
    trained = {
        names[param]
        for group in optimizer.param_groups
        for param in group['params']
        if group['lr'] > 0
    }
    assert trained == {name for name, _ in CLASS_ROW_WEIGHTS}
    for group in optimizer.param_groups:
        assert group['lr'] > 0 or group['weight_decay'] == 0


@pytest.mark.slow
def test_the_demo_reaches_its_goal(tmp_path):
    scores = []
    for seed in (0, 1, 2):
        option = f'randomness.seed={seed}'
        folder = tmp_path / str(seed)
        folder.mkdir()
        printed = run_demo(folder, '--cfg-options', option)
        print(printed[-600:])
        scores.append(ap50(printed))
    assert median(scores) >= 85 and min(scores) >= 80


@pytest.mark.slow
def test_shuffled_labels_do_not(tmp_path):
    printed = run_demo(tmp_path, '--shuffle-labels')
    print(printed[-600:])
    assert ap50(printed) < 15


@pytest.mark.slow
def test_the_demo_from_scratch_reaches_its_goal(tmp_path):
    printed = run_demo(tmp_path, '--from-scratch')
    print(printed[-600:])
    assert ap50(printed) >= 60


@pytest.mark.slow
def test_the_demo_with_masks_reaches_its_goal(tmp_path):
    printed = run_demo(tmp_path, '--masks')
    print(printed[-600:])
    assert 'mask AP' in printed and ap50(printed) >= 50


@pytest.mark.slow
def test_the_demo_with_figures_reaches_its_goal(tmp_path):
    printed = run_demo(tmp_path, '--figures')
    print(printed[-600:])
    assert 'keypoint AP' in printed and ap50(printed) >= 60


@pytest.mark.slow
def test_figures_with_shuffled_sides_do_not(tmp_path):
    printed = run_demo(tmp_path, '--figures', '--shuffle-labels')
    print(printed[-600:])
    assert ap50(printed) <= 30
