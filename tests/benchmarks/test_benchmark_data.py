"""The timing of the data pipeline runs on both sides; times are not tested."""

import importlib
import json
from pathlib import Path

import pytest

from tests.data_factory import write_layout

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmark_data(monkeypatch):
    module = importlib.import_module('benchmark_data')
    return module


@pytest.mark.parametrize('has_upstream', [True, False])
def test_rows(tmp_path, benchmark_data, monkeypatch, capsys, has_upstream):
    if has_upstream:
        pytest.importorskip('rfdetr')
    else:
        monkeypatch.setattr(
            benchmark_data.importlib.util, 'find_spec', lambda name: None
        )
    root = write_layout(tmp_path / 'data', 'flat')
    seconds = benchmark_data.main(
        [str(ROOT / 'configs/rfdetr/rfdetr_nano_custom.py')]
        + ['--workers', '0', '--passes', '1', '--batch-size', '2']
        + ['--cfg-options', f'data_root={root}']
        + ['resolution=96']
    )
    names = [name.partition(', ')[2].split(',')[0] for name in seconds]
    assert names == ['ours', 'ours'] + ['rfdetr'] * has_upstream
    assert all(len(one) == 1 and one[0] > 0 for one in seconds.values())
    table = capsys.readouterr().out
    assert 'boxes, 96 x 96 px, batches of 2' in table
    assert all(name in table for name in seconds)


def test_fewer_images_than_a_batch_are_one_line(tmp_path, benchmark_data):
    root = write_layout(tmp_path / 'data', 'flat')
    with pytest.raises(SystemExit) as stopped:
        benchmark_data.main(
            [str(ROOT / 'configs/rfdetr/rfdetr_nano_custom.py')]
            + ['--workers', '0', '--batch-size', '8']
            + ['--cfg-options', f'data_root={root}']
        )
    message = str(stopped.value)
    assert '3 training images do not fill a batch of 8' in message
    assert '\n' not in message.strip()


def photographs(tmp_path, benchmark_data, config):
    """Both loaders on five photographs, 96 px."""
    root = benchmark_data.write_photographs(tmp_path / 'data', 5)
    args = benchmark_data.parse_args(
        [str(ROOT / 'configs' / config)]
        + ['--cfg-options', f'data_root={root}', 'resolution=96']
    )
    cfg = benchmark_data.read_config(args)
    benchmark_data.resolve_own_data(cfg)
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope('mmdet'):
        ours = benchmark_data.our_loader(cfg, 5, 0)
        theirs = benchmark_data.upstream_loader(cfg, 5, 0)
    return next(iter(ours)), next(iter(theirs))


def test_both_sides_get_masks(tmp_path, benchmark_data):
    pytest.importorskip('rfdetr')
    ours, (_, targets) = photographs(
        tmp_path, benchmark_data, 'rfdetr_seg/rfdetr-seg_nano_custom.py'
    )
    for sample in ours['data_samples']:
        masks = sample.gt_instances.masks
        assert masks.masks.shape[1:] == (96, 96) and masks.masks.any()
    for target in targets:
        assert target['masks'].shape == (len(target['boxes']), 96, 96)
        assert target['masks'].any()


def test_both_sides_get_keypoints(tmp_path, benchmark_data):
    pytest.importorskip('rfdetr')
    ours, (_, targets) = photographs(
        tmp_path, benchmark_data, 'rfdetr_pose/rfdetr-pose_preview_custom.py'
    )
    for sample in ours['data_samples']:
        assert sample.gt_instances.keypoints.shape[1:] == (17, 3)
    for target in targets:
        assert target['keypoints'].shape == (len(target['boxes']), 17, 3)


def test_photographs(tmp_path, benchmark_data):
    """H != W; boxes hold their polygons; the seed alone decides."""
    roots = [
        benchmark_data.write_photographs(tmp_path / name, 2) for name in 'ab'
    ]
    first, second = (
        (root / 'images' / '000001.jpg').read_bytes() for root in roots
    )
    assert first == second and 80_000 < len(first) < 300_000
    content = json.loads((roots[0] / 'train.json').read_text())
    assert [(i['height'], i['width']) for i in content['images']] == [
        (480, 640)
    ] * 2
    assert len(content['categories'][0]['keypoints']) == 17
    for one in content['annotations']:
        x, y, w, h = one['bbox']
        (polygon,) = one['segmentation']
        assert min(polygon[::2]) == pytest.approx(x, abs=0.02)
        assert max(polygon[1::2]) == pytest.approx(y + h, abs=0.02)
        assert x >= 0 and y >= 0 and x + w <= 640 and y + h <= 480
        assert len(one['keypoints']) == 51


def test_both_sides_get_the_same_images_and_boxes(tmp_path, benchmark_data):
    pytest.importorskip('rfdetr')
    from mmengine.registry import DefaultScope

    root = write_layout(tmp_path / 'data', 'flat')
    args = benchmark_data.parse_args(
        [str(ROOT / 'configs/rfdetr/rfdetr_nano_custom.py')]
        + ['--cfg-options', f'data_root={root}']
        + ['resolution=96']
    )
    cfg = benchmark_data.read_config(args)
    benchmark_data.resolve_own_data(cfg)
    with DefaultScope.overwrite_default_scope('mmdet'):
        ours = benchmark_data.our_loader(cfg, 3, 0)
        theirs = benchmark_data.upstream_loader(cfg, 3, 0)
    (batch,) = ours
    assert [img.shape for img in batch['inputs']] == [(3, 96, 96)] * 3
    ((images, targets),) = theirs
    assert images.tensors.shape == (3, 3, 96, 96)
    assert len(ours.dataset) == len(theirs.dataset) == 3
