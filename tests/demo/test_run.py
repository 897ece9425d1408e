import json
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

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


def test_a_few_steps_leave_pictures_and_a_curve(tmp_path):
    printed = run_demo(tmp_path, '--cfg-options', *SMALL)
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


@pytest.mark.slow
def test_the_demo_reaches_its_goal(tmp_path):
    printed = run_demo(tmp_path)
    print(printed[-600:])
    assert ap50(printed) >= 60


@pytest.mark.slow
def test_shuffled_labels_do_not(tmp_path):
    printed = run_demo(tmp_path, '--shuffle-labels')
    print(printed[-600:])
    assert ap50(printed) < 10


@pytest.mark.slow
def test_the_demo_with_masks_reaches_its_goal(tmp_path):
    printed = run_demo(tmp_path, '--masks')
    print(printed[-600:])
    assert 'mask AP' in printed and ap50(printed) >= 50
