import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_onnx import END2END, write_toy

from rfdetr_mm.apis import RFDETR
from rfdetr_mm.apis.command_line import val

METRICS = {
    'coco/bbox_mAP': 0.25,
    'coco/bbox_mAP_50': 0.5,
    'coco/bbox_mAP_s': -1.0,
}


@pytest.fixture
def calls(monkeypatch):
    seen = []
    # There is no data set.
    monkeypatch.setattr(val, 'check_evaluation', lambda *given: None)

    def evaluate(self, split='test', **options):
        seen.append((split, options))
        return METRICS

    monkeypatch.setattr(RFDETR, 'evaluate', evaluate, raising=False)
    return seen


def test_metrics(command, loaded, calls, tmp_path):
    path = tmp_path / 'new' / 'metrics.json'
    code, printed, _ = command(
        *('val', '.', '--model', 'nano', '--device', 'cpu'),
        *('--split', 'test', '--batch-size', 8, '--json', path),
    )
    assert code == 0
    expected = dict(dataset_dir='.', batch_size=8, compute_test_loss=False)
    assert calls == [('test', expected)]
    assert printed.splitlines() == [
        'coco/bbox_mAP      25.00',
        'coco/bbox_mAP_50   50.00',
        'coco/bbox_mAP_s        -',
    ]
    assert json.loads(path.read_text()) == METRICS


def test_the_split_is_val_by_default(command, loaded, calls):
    command('val', '.', '--model', 'nano', '--device', 'cpu')
    expected = dict(dataset_dir='.', compute_test_loss=False)
    assert calls == [('val', expected)]
    code, *_ = command('val', '.', '--split', 'train')
    assert code == 2


def test_a_report_to_compare_with_needs_a_report(command, loaded, calls):
    given = ('--model', 'nano', '--against', 'old')
    code, _, errors = command('val', '.', *given)
    assert code == 2
    assert '--against needs --report' in errors
    command('val', '.', *given, '--report', 'new', '--device', 'cpu')
    (_, options) = calls[0]
    assert options['report'] == Path('new')
    assert options['against'] == Path('old')


# Of a dog and a cat, over the size of the picture
TOY_POINTS = ([(0.5, 0.25), (0.75, 0.5)], [(0.75, 0.5)])


@pytest.mark.parametrize('kind', ['bbox', 'segm', 'keypoint'])
def test_an_exported_file(command, tmp_path, kind):
    """The toy finds the same two objects in every picture."""
    pytest.importorskip('onnxruntime')
    boxes = END2END[0]
    pose = kind == 'keypoint'
    file = write_toy(tmp_path / 'toy.onnx', seg=kind == 'segm', pose=pose)
    folder = tmp_path / 'valid'
    folder.mkdir()
    images, annotations = [], []
    for i, (height, width) in enumerate([(8, 18), (12, 6)]):
        Image.new('RGB', (width, height)).save(folder / f'{i}.png')
        images.append(
            dict(id=i, file_name=f'{i}.png', height=height, width=width)
        )
        for box, category, points in zip(boxes, (1, 0), TOY_POINTS):
            scale = np.array([width / 6, height / 4] * 2)
            x1, y1, x2, y2 = (np.array(box[:4]) * scale).tolist()
            bbox = [x1, y1, x2 - x1, y2 - y1]
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=i,
                    category_id=category,
                    bbox=bbox,
                    area=bbox[2] * bbox[3],
                    iscrowd=0,
                    segmentation=[[x1, y1, x2, y1, x2, y2, x1, y2]],
                )
            )
            if pose:
                annotations[-1]['keypoints'] = [
                    value
                    for x, y in points
                    for value in (x * width, y * height, 2)
                ]
    # The other order of the classes: they are found by their names.
    categories = [dict(id=0, name='cat'), dict(id=1, name='dog')]
    if pose:
        categories[0]['keypoints'] = ['nose']
        categories[1]['keypoints'] = ['nose', 'tail']
    content = dict(
        images=images, annotations=annotations, categories=categories[::-1]
    )
    (folder / '_annotations.coco.json').write_text(json.dumps(content))
    arguments = ('val', file, tmp_path, '--output-dir', tmp_path / 'out')
    if importlib.util.find_spec('vernier') is not None:
        report = tmp_path / 'report'
        code, printed, errors = command(*arguments, '--report', report)
        assert code == 0, errors
        assert f'the report is {report / "index.html"}' in printed
        kinds = json.loads((report / 'report.json').read_text())['kinds']
        others = dict(bbox=[], segm=['segm'], keypoint=['keypoints'])
        assert [*kinds] == ['bbox', *others[kind]]
        assert kinds['bbox']['overall']['AP'] == pytest.approx(1)
        code, _, errors = command(*arguments, '--report', folder)
        assert code == 1
        assert 'holds other files' in errors
    code, printed, errors = command(*arguments)
    assert code == 0, errors
    lines = [x for x in printed.splitlines() if x.startswith('coco/')]
    values = dict(line.split() for line in lines)
    assert values['coco/bbox_mAP'] == '100.00'
    for name in ('segm', 'keypoint'):
        assert (f'coco/{name}_mAP' in values) == (name == kind)
    assert values[f'coco/{kind}_mAP'] == '100.00' or kind == 'segm'
    if kind == 'bbox':  # In a process of its own nothing is set up beforehand.
        fresh = subprocess.run(
            [sys.executable, '-m', 'rfdetr_mm_light', *map(str, arguments)],
            capture_output=True,
            text=True,
        )
        assert fresh.returncode == 0, fresh.stderr
        assert [x for x in fresh.stdout.splitlines() if x in lines] == lines
    content['categories'] = [dict(id=0, name='emu'), dict(id=1, name='dog')]
    (folder / '_annotations.coco.json').write_text(json.dumps(content))
    code, printed, errors = command(*arguments)
    assert code == 1 and 'emu' in errors
