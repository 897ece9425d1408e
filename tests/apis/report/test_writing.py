"""One page that needs nothing else, and the same numbers beside it."""

import base64
import csv
import dataclasses
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from rfdetr_mm.apis.report.page import points
from rfdetr_mm.apis.report.writing import write_report
from rfdetr_mm.evaluation.analysis import analyse
from tests.scene_factory import HEIGHT, WIDTH, make_scene

pytest.importorskip('vernier', reason='vernier is not installed')
NAME = '<script>"a" & b'


def with_images(scene, folder):
    rng = np.random.default_rng(0)
    folder.mkdir()
    paths = []
    for name in scene.image_paths:
        pixels = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        paths.append(str(folder / name))
        Image.fromarray(pixels).save(paths[-1])
    return dataclasses.replace(scene, image_paths=tuple(paths))


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp('report')
    scene = with_images(make_scene(1), folder / 'images')
    scene = dataclasses.replace(scene, classes=(NAME, *scene.classes[1:]))
    analysis = analyse(scene, num_examples=4)
    page = write_report([analysis], folder / 'out', f'{NAME} on data')
    return analysis, page


class Outline(HTMLParser):
    void = {'meta', 'img', 'br'}

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_needs_nothing_else(written):
    text = written[1].read_text()
    outline = Outline(text)
    assert outline.open == []
    for tag, attributes in outline.tags:
        assert tag not in ('script', 'link', 'iframe', 'object')
        for name in ('src', 'href', 'data'):
            assert attributes.get(name, 'data:').startswith('data:')
    assert not re.search('https?:|@import|url\\(', text)
    assert 'prefers-color-scheme:dark' in text
    assert '@media print' in text


def test_the_page_shows_the_numbers(written):
    analysis, page = written
    outline = Outline(page.read_text())
    shown = ' '.join(outline.text)
    numbers = analysis.numbers
    for name in ('AP', 'AP50', 'AP75', 'AR'):
        assert points(numbers['overall'][name]) in shown
    best = numbers['best']
    label = f'best F1 {points(best["f1"])} at {best["threshold"]:.2f}'
    assert label in shown
    for kind, count in numbers['errors']['counts'].items():
        assert kind in shown
        assert f'{count:,}' in shown
    assert NAME in shown
    assert points(-1) == points(None) == '–'


def test_pictures_show_what_they_are_of(written):
    analysis, page = written
    images = [
        attributes['src']
        for tag, attributes in Outline(page.read_text()).tags
        if tag == 'img'
    ]
    examples = analysis.numbers['examples']
    assert len(images) == sum(map(len, examples.values())) > 4
    for number, (group, colour) in enumerate(
        [('misses', (60, 220, 90)), ('false_alarms', (255, 150, 30))]
    ):
        at = sum(len(examples[g]) for g in [*examples][:number])
        data = base64.b64decode(images[at].partition(',')[2])
        pixels = np.asarray(Image.open(io.BytesIO(data))).astype(int)
        w, h = examples[group][0]['box_xywh_px'][2:]
        scale = len(pixels) / (max(w, h, 12) * 2.2)
        middle = len(pixels) // 2
        edge = round(middle - w / 2 * scale)
        # The cut begins at a whole pixel of the image.
        part = pixels[middle, edge - 4 : edge + 9] - np.array(colour)
        assert np.abs(part).max(axis=1).min() < 40, group


def test_json_and_csv_hold_the_same(written):
    analysis, page = written
    content = json.loads((page.parent / 'report.json').read_text())
    assert content['kinds']['bbox'] == analysis.numbers
    numbers = analysis.numbers

    def rows(name):
        text = (page.parent / f'bbox_{name}.csv').read_text()
        return list(csv.DictReader(io.StringIO(text)))

    classes = rows('classes')
    assert [row['class'] for row in classes] == ['all', *numbers['classes']]
    assert float(classes[0]['AP']) == numbers['overall']['AP']
    assert float(classes[2]['AP50']) == numbers['of_classes'][1]['AP50']
    assert float(classes[0]['best_threshold']) == numbers['best']['threshold']
    sweep = rows('f1')
    assert len(sweep) == 101
    assert [float(row['f1']) for row in sweep] == numbers['f1']['f1']
    curve = rows('precision_recall')
    assert len(curve) == 101
    assert [float(row['0.50']) for row in curve] == (
        numbers['precision_recall']['precision']['0.50']
    )
    table = [
        [int(value) for value in [*row.values()][1:]]
        for row in rows('confusion')
    ]
    assert table == numbers['confusion']['table']
    errors = {row['kind']: int(row['count']) for row in rows('errors')}
    assert errors == numbers['errors']['counts']
    assert len(rows('calibration')) == 10
    assert (
        rows('examples')[0]['file']
        == (numbers['examples']['misses'][0]['file'])
    )


@pytest.mark.parametrize('kind', ['segm', 'keypoints'])
def test_masks_and_keypoints(tmp_path, kind):
    scene = with_images(make_scene(2, kind), tmp_path / 'images')
    boxes = analyse(dataclasses.replace(make_scene(2)))
    page = write_report([boxes, analyse(scene)], tmp_path / 'out', 'both')
    text = page.read_text()
    assert ('Masks' if kind == 'segm' else 'Keypoints') in text
    assert 'the image cannot be read' in text  # those of the boxes
    names = {file.name for file in page.parent.glob('*.csv')}
    assert {'bbox_classes.csv', f'{kind}_classes.csv'} <= names


def test_two_models_side_by_side(tmp_path):
    one, other = analyse(make_scene(1)), analyse(make_scene(2))
    write_report([other], tmp_path / 'old', 'the old one')
    against = json.loads((tmp_path / 'old' / 'report.json').read_text())
    page = write_report([one], tmp_path / 'new', 'the new one', against)
    text = page.read_text()
    assert 'Compared with <b>the old one</b>' in text
    both = [points(x.numbers['overall']['AP']) for x in (one, other)]
    assert both[0] != both[1]
    assert f'{both[0]} <s>/ {both[1]}</s>' in text
    # The comparison is the page's; the numbers stay those of one model.
    content = json.loads((tmp_path / 'new' / 'report.json').read_text())
    assert content['kinds']['bbox'] == one.numbers


def test_no_detection_and_what_is_not_finite_is_said(tmp_path):
    scene = make_scene(0)
    none = scene.detections.taken(np.zeros(0, int))
    analysis = analyse(dataclasses.replace(scene, detections=none))
    page = write_report([analysis], tmp_path / 'none', 'none')
    assert 'There is no detection' in page.read_text()
    score = scene.detections.score.copy()
    score[:3] = np.nan
    broken = dataclasses.replace(scene.detections, score=score)
    analysis = analyse(dataclasses.replace(scene, detections=broken))
    page = write_report([analysis], tmp_path / 'nan', 'nan')
    assert '3 detections with a box or a score that is not' in page.read_text()


def test_many_classes_get_a_list_of_confusions(tmp_path):
    scene = make_scene(1, num_classes=40)
    page = write_report([analyse(scene)], tmp_path / 'many', 'many')
    assert 'found as</th>' in page.read_text()
