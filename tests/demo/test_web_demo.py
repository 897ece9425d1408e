import json
import os
import time
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from PIL import Image
from scipy import ndimage

gradio = pytest.importorskip('gradio', reason='the extra web is not installed')

CHROMIUM, DRIVER = '/usr/bin/chromium', '/usr/bin/chromedriver'
HW = (240, 320)
# Left, top, right, bottom, label (0 is red, 1 is blue), score
THINGS = [
    (20, 30, 90, 110, 0, 0.9),
    (150, 60, 230, 150, 1, 0.7),
    (240, 160, 300, 220, 0, 0.4),
]
COLOURS = ((220, 40, 30), (30, 60, 220))


@pytest.fixture(scope='module')
def picture(tmp_path_factory):
    pixels = np.full((*HW, 3), 200, np.uint8)
    for x1, y1, x2, y2, label, _ in THINGS:
        pixels[y1:y2, x1:x2] = COLOURS[label]
    path = tmp_path_factory.mktemp('web') / 'things.png'
    Image.fromarray(pixels).save(path)
    return path


def find_things(bgr):
    """A detector of what is painted in the picture."""
    numbered, count = ndimage.label(np.ptp(bgr.astype(int), axis=2) > 100)
    boxes, labels, scores = [], [], []
    for y, x in ndimage.find_objects(numbered):
        box = (x.start, y.start, x.stop, y.stop)
        boxes.append(box)
        labels.append(int(bgr[y, x, 0].mean() > bgr[y, x, 2].mean()))
        scores += [thing[5] for thing in THINGS if thing[:4] == box]
    sample = DetDataSample()
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor(boxes).reshape(-1, 4).float(),
        scores=torch.tensor(scores),
        labels=torch.tensor(labels, dtype=torch.long),
    )
    return sample


@pytest.fixture
def web(demo, tiny, monkeypatch):
    """The demo's module; its model finds the things of the picture."""
    module = demo('web_demo')

    def call(self, inputs, **options):
        return dict(predictions=[find_things(inputs)])

    monkeypatch.setattr(module.RFDETRInferencer, '__call__', call)
    return module


@pytest.fixture
def page(web, tiny):
    args = web.parse_args([tiny.box[1], '--device', 'cpu'])
    return web.Page(web.build_inferencer(args))


def test_threshold_and_classes_choose(page, picture):
    image = np.asarray(Image.open(picture))
    seen = page.look(image)
    for threshold, classes, expected in (
        (0.3, [], [0, 1, 2]),
        (0.5, [], [0, 1]),
        (0.5, ['square'], [1]),
        (0.3, ['disc'], [0, 2]),
        (0.3, ['disc', 'square'], [0, 1, 2]),
        (0.95, [], []),
    ):
        painted, summary, rows, png, path = page.show(seen, threshold, classes)
        assert [row[2:] for row in rows] == [
            list(THINGS[i][:4]) for i in expected
        ]
        content = json.loads(open(path).read())
        assert (content['height'], content['width']) == HW
        found = content['detections']
        assert [d['bbox_xyxy_px'] for d in found] == [r[2:] for r in rows]
        assert [d['class_id'] for d in found] == [
            THINGS[i][4] for i in expected
        ]
        assert np.array_equal(np.asarray(Image.open(png)), painted)
        assert painted.shape == image.shape
        number = len(expected)
        assert f'**{number} object{"" if number == 1 else "s"}**' in summary
        # A painted frame is there where a box is shown, and only there.
        changed = [
            (painted[y1, x1:x2] != image[y1, x1:x2]).any()
            for x1, y1, x2, _, _, _ in THINGS
        ]
        assert changed == [i in expected for i in range(3)]


def test_files_have_keypoints(web):
    found = InstanceData(
        bboxes=torch.tensor([[1.0, 2, 30, 40]]),
        scores=torch.tensor([0.9]),
        labels=torch.tensor([0]),
        keypoints=torch.tensor([[[5.0, 6], [0, 0]]]),
        keypoint_scores=torch.tensor([[0.75, 0]]),
    )
    painted = np.zeros((*HW, 3), np.uint8)
    _, data = web._files(painted, HW, found, [['red', 0.9, 1, 2, 30, 40]])
    with open(data) as file:
        (detection,) = json.load(file)['detections']
    assert detection['keypoints_xy_px_score'] == [[5.0, 6.0, 0.75]]


def test_no_image(page):
    assert page.look(None) is None
    assert page.show(None, 0.5, [])[:3] == (None, 'No image yet.', [])


@contextmanager
def browser(folder):
    """Chromium without a window that writes down what it asks for."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for name in (
        'headless', 'no-sandbox', 'disable-gpu', 'disable-quic',
        'no-first-run', 'disable-background-networking',
        'disable-component-update', 'disable-sync',
        f'user-data-dir={folder / "profile"}', 'window-size=1280,900',
    ):  # fmt: skip
        options.add_argument(f'--{name}')
    downloads = str(folder / 'downloads')
    options.add_experimental_option(
        'prefs', {'download.default_directory': downloads}
    )
    options.set_capability('goog:loggingPrefs', {'performance': 'ALL'})
    service = webdriver.ChromeService(executable_path=DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_page_load_timeout(60)
    try:
        yield driver
    finally:
        driver.quit()


def requested(driver):
    """Addresses that the page has asked for."""
    for entry in driver.get_log('performance'):
        message = json.loads(entry['message'])['message']
        if message['method'] == 'Network.requestWillBeSent':
            yield message['params']['request']['url']


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.2)
    raise AssertionError('it did not come')


@pytest.mark.slow
@pytest.mark.skipif(
    not (os.path.exists(CHROMIUM) and os.path.exists(DRIVER)),
    reason=f'{CHROMIUM} or {DRIVER} is missing: apt-get install chromium '
    'chromium-driver',
)
def test_the_page_in_a_browser(web, tiny, picture, tmp_path):
    pytest.importorskip('selenium')
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    args = web.parse_args([tiny.box[1], '--device', 'cpu'])
    blocks = web.serve(args, block=False)
    try:
        with browser(tmp_path) as driver:

            def element(selector):
                return driver.find_element(By.CSS_SELECTOR, selector)

            def summary(start):
                return element('#summary').text.startswith(start)

            driver.get(blocks.local_url)
            until(lambda: driver.find_elements(By.ID, 'upload'))
            assert 'RF-DETR' in driver.title
            element('#upload input[type=file]').send_keys(str(picture))
            until(lambda: summary('3 objects: 2 × disc, 1 × square'))
            assert element('#painted img').get_attribute('naturalWidth')

            number = element('#threshold input[type=number]')
            number.send_keys(Keys.CONTROL, 'a')
            number.send_keys('0.5', Keys.ENTER)
            until(lambda: summary('2 objects: 1 × disc, 1 × square'))

            choice = element('#classes input')
            choice.click()
            choice.send_keys('square', Keys.ENTER)
            until(lambda: summary('1 object: 1 × square'))
            rows = element('#table').text
            assert '0.7' in rows and '150' in rows
            driver.save_screenshot(
                os.environ.get(
                    'RFDETR_MM_SCREENSHOT', str(tmp_path / 'page.png')
                )
            )

            element('#download-json').click()
            element('#download-image').click()
            folder = tmp_path / 'downloads'
            until(lambda: (folder / 'detections.png').is_file())
            until(lambda: (folder / 'detections.json').is_file())
            asked = [
                url
                for url in requested(driver)
                if not url.startswith(('data:', 'blob:', 'chrome'))
            ]
    finally:
        blocks.close()
    (found,) = json.loads((folder / 'detections.json').read_text())[
        'detections'
    ]
    assert found['bbox_xyxy_px'] == list(THINGS[1][:4])
    assert Image.open(folder / 'detections.png').size == HW[::-1]
    assert asked and {url.split('/')[2].split(':')[0] for url in asked} == {
        '127.0.0.1'
    }
