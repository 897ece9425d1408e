"""The command: from a config and detections to a page; one line for faults."""

import copy
import importlib.util
import json
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from tests.data_factory import CLASSES, edit_json, write_coco

pytest.importorskip('vernier', reason='vernier is not installed')
ROOT = Path(__file__).parents[3]
SIZES = [(60, 90), (90, 60), (50, 70), (60, 60)]


@pytest.fixture
def report(monkeypatch):
    monkeypatch.setattr(sys, 'path', [str(ROOT / 'tools'), *sys.path])
    path = ROOT / 'tools/analysis_tools/report.py'
    spec = importlib.util.spec_from_file_location('report', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data(tmp_path):
    """A config, its annotations, and detections that are almost right."""
    root = write_coco(tmp_path / 'data', SIZES, empty=(1,))
    cfg = Config.fromfile(ROOT / 'configs/rfdetr/rfdetr_nano_coco.py')
    cfg.test_dataloader.dataset.update(
        data_root=str(root),
        ann_file='annotations.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=CLASSES),
    )
    cfg.test_evaluator.ann_file = str(root / 'annotations.json')
    cfg.dump(tmp_path / 'config.py')
    truth = json.loads((root / 'annotations.json').read_text())
    rng = np.random.default_rng(0)
    found = [
        dict(
            image_id=one['image_id'],
            category_id=one['category_id'],
            bbox=[v + float(rng.normal()) for v in one['bbox']],
            score=float(rng.random()),
        )
        for one in truth['annotations']
    ]
    (tmp_path / 'found.json').write_text(json.dumps(found))
    return tmp_path, truth, found


def as_pickle(folder, truth, found):
    """The same, as tools/test.py --out writes it."""
    samples = []
    for image in truth['images']:
        own = [one for one in found if one['image_id'] == image['id']]
        boxes = torch.tensor([one['bbox'] for one in own]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = [(7, 3).index(one['category_id']) for one in own]
        samples.append(
            dict(
                img_id=image['id'],
                pred_instances=dict(
                    bboxes=boxes,
                    scores=torch.tensor([one['score'] for one in own]),
                    labels=torch.tensor(labels, dtype=torch.long),
                ),
            )
        )
    path = folder / 'found.pkl'
    path.write_bytes(pickle.dumps(samples))
    return path


def run(report, folder, results='found.json', *options):
    return report.main(
        [
            str(folder / 'config.py'),
            str(folder / results),
            *('--out', str(folder / 'out'), *map(str, options)),
        ]
    )


def numbers(page):
    content = json.loads((page.parent / 'report.json').read_text())
    return content['kinds']['bbox']


def test_both_forms_of_results_give_the_same(report, data):
    folder, truth, found = data
    ours = numbers(run(report, folder))
    assert ours['num_objects'] == len(truth['annotations'])
    assert ours['num_detections'] == len(found)
    assert ours['overall']['AP50'] > 0.5
    assert ours['classes'] == [*CLASSES]
    as_pickle(folder, truth, found)
    again = numbers(run(report, folder, 'found.pkl'))
    assert again['overall']['AP'] == pytest.approx(ours['overall']['AP'])
    assert again['confusion'] == ours['confusion']
    text = (folder / 'out' / 'index.html').read_text()
    assert 'the image cannot be read' not in text


def test_two_files_and_an_earlier_report_side_by_side(report, data):
    folder, _, found = data
    worse = [dict(one, bbox=[0, 0, 9, 9]) for one in found]
    (folder / 'worse.json').write_text(json.dumps(worse))
    page = run(
        report, folder, 'found.json', '--against', folder / 'worse.json'
    )
    assert 'Compared with <b>worse.json' in page.read_text()
    (folder / 'out').rename(folder / 'old')
    page = run(report, folder, 'worse.json', '--against', folder / 'old')
    assert 'Compared with <b>found.json' in page.read_text()


def test_no_detections_is_a_report(report, data):
    folder, truth, _ = data
    (folder / 'none.json').write_text('[]')
    page = run(report, folder, 'none.json')
    assert numbers(page)['overall']['AP'] == 0
    assert 'There is no detection' in page.read_text()


def test_a_class_that_nothing_was_found_of_counts_as_missed(report, data):
    folder, truth, found = data
    one_class = [one for one in found if one['category_id'] == 7]
    (folder / 'half.json').write_text(json.dumps(one_class))
    rows = numbers(run(report, folder, 'half.json'))['of_classes']
    assert rows[1]['AP'] == 0 < rows[0]['AP']
    assert rows[1]['objects'] == sum(
        one['category_id'] == 3 for one in truth['annotations']
    )


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(image_id=77), 'images that the data set does not have.*id 77'),
        (dict(category_id=5), 'is of the category 5, which the data set'),
        (dict(bbox=None), 'has no bbox'),
        (dict(score=...), 'has no score'),
    ],
)
def test_results_of_another_data_set(report, data, change, message):
    folder, _, found = data
    found = copy.deepcopy(found)
    found[1].update(change)
    found[1] = {k: v for k, v in found[1].items() if v is not ...}
    (folder / 'bad.json').write_text(json.dumps(found))
    complaint(report, folder, message, 'bad.json')


def complaint(report, folder, message, *given):
    with pytest.raises(SystemExit) as stop:
        run(report, folder, *given)
    line = str(stop.value.code)
    assert '\n' not in line
    assert re.search(message, line), line
    return line


def test_what_cannot_be_read(report, data):
    folder, truth, found = data
    complaint(report, folder, 'there is no file of results', 'missing.pkl')
    (folder / 'x.json').write_text('{')
    complaint(report, folder, 'cannot be read', 'x.json')
    (folder / 'x.json').write_text('{"a": 1}')
    complaint(report, folder, 'must hold a list', 'x.json')
    (folder / 'x.pkl').write_bytes(b'no pickle')
    complaint(report, folder, 'x.pkl', 'x.pkl')
    samples = pickle.loads(as_pickle(folder, truth, found).read_bytes())
    samples[0]['pred_instances']['labels'] += 5
    (folder / 'x.pkl').write_bytes(pickle.dumps(samples))
    complaint(report, folder, 'label .*another data set', 'x.pkl')


def test_a_pickle_runs_no_code(report, data):
    class Bomb:
        def __reduce__(self):
            return (open, (str(data[0] / 'boom'), 'w'))

    (data[0] / 'x.pkl').write_bytes(pickle.dumps([Bomb()]))
    complaint(report, data[0], 'x.pkl', 'x.pkl')
    assert not (data[0] / 'boom').exists()


def test_no_truth_and_a_foreign_folder(report, data):
    folder, *_ = data
    (folder / 'out').mkdir()
    (folder / 'out' / 'mine.txt').write_text('x')
    complaint(report, folder, 'holds other files')
    (folder / 'out' / 'mine.txt').unlink()
    old = json.dumps(dict(format='rfdetr_mm evaluation report', version=9))
    (folder / 'old').mkdir()
    (folder / 'old' / 'report.json').write_text(old)
    given = ('found.json', '--against', folder / 'old')
    complaint(report, folder, 'version 9 of the report', *given)
    edit_json(
        folder / 'data' / 'annotations.json',
        lambda content: content.update(annotations=[]),
    )
    complaint(report, folder, 'has no box')
